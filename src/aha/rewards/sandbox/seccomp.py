"""The system calls that a program in the sandbox may make: an allow-list as a seccomp filter (classic BPF).

program_filter(platform.machine())   # bytes of `struct sock_filter[]`, installed by zygote.py

A call that is not listed fails with ENOSYS, so that the C library takes its fallback. Of `clone` only processes and
threads pass, no new namespaces; `clone3`, whose flags a filter cannot see, is not listed. Sockets cannot be made but
for a `socketpair` within the program, which event loops wake themselves with.
"""

from __future__ import annotations

import errno
import struct

_X86_64 = {
    "read": 0, "write": 1, "readv": 19, "writev": 20, "pread64": 17, "pwrite64": 18, "preadv": 295, "pwritev": 296,
    "lseek": 8, "open": 2, "openat": 257, "creat": 85, "close": 3, "close_range": 436, "dup": 32, "dup2": 33,
    "dup3": 292, "pipe": 22, "pipe2": 293, "stat": 4, "fstat": 5, "lstat": 6, "newfstatat": 262, "statx": 332,
    "access": 21, "faccessat": 269, "faccessat2": 439, "readlink": 89, "readlinkat": 267, "getdents": 78,
    "getdents64": 217, "getcwd": 79, "chdir": 80, "fchdir": 81, "mkdir": 83, "mkdirat": 258, "rmdir": 84,
    "unlink": 87, "unlinkat": 263, "rename": 82, "renameat": 264, "renameat2": 316, "link": 86, "linkat": 265,
    "symlink": 88, "symlinkat": 266, "chmod": 90, "fchmod": 91, "fchmodat": 268, "umask": 95, "truncate": 76,
    "ftruncate": 77, "fallocate": 285, "utimensat": 280, "fsync": 74, "fdatasync": 75, "flock": 73, "fcntl": 72,
    "statfs": 137, "fstatfs": 138, "copy_file_range": 326, "sendfile": 40, "fadvise64": 221, "mmap": 9, "munmap": 11,
    "mprotect": 10, "mremap": 25, "madvise": 28, "brk": 12, "mincore": 27, "msync": 26, "fork": 57, "vfork": 58,
    "execve": 59, "execveat": 322, "exit": 60, "exit_group": 231, "wait4": 61, "waitid": 247, "set_tid_address": 218,
    "set_robust_list": 273, "rseq": 334, "futex": 202, "sched_yield": 24, "sched_getaffinity": 204, "arch_prctl": 158,
    "membarrier": 324, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "rt_sigsuspend": 130,
    "rt_sigpending": 127, "rt_sigtimedwait": 128, "sigaltstack": 131, "kill": 62, "tgkill": 234, "tkill": 200,
    "pause": 34, "alarm": 37, "setitimer": 38, "getitimer": 36, "restart_syscall": 219, "poll": 7, "ppoll": 271,
    "select": 23, "pselect6": 270, "epoll_create": 213, "epoll_create1": 291, "epoll_ctl": 233, "epoll_wait": 232,
    "epoll_pwait": 281, "eventfd": 284, "eventfd2": 290, "nanosleep": 35, "clock_nanosleep": 230,
    "clock_gettime": 228, "clock_getres": 229, "gettimeofday": 96, "time": 201, "times": 100, "getrusage": 98,
    "sysinfo": 99, "uname": 63, "getpid": 39, "gettid": 186, "getppid": 110, "getuid": 102, "geteuid": 107,
    "getgid": 104, "getegid": 108, "getgroups": 115, "getpgrp": 111, "getpgid": 121, "setpgid": 109, "getsid": 124,
    "setsid": 112, "getresuid": 118, "getresgid": 120, "getpriority": 140, "prlimit64": 302, "getrlimit": 97,
    "setrlimit": 160, "getrandom": 318, "sendto": 44, "recvfrom": 45, "clone": 56, "ioctl": 16, "prctl": 157,
    "socketpair": 53,
}  # fmt: skip
_AARCH64 = {
    "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69, "pwritev": 70,
    "lseek": 62, "openat": 56, "close": 57, "close_range": 436, "dup": 23, "dup3": 24, "pipe2": 59, "fstat": 80,
    "newfstatat": 79, "statx": 291, "faccessat": 48, "faccessat2": 439, "readlinkat": 78, "getdents64": 61,
    "getcwd": 17, "chdir": 49, "fchdir": 50, "mkdirat": 34, "unlinkat": 35, "renameat": 38, "renameat2": 276,
    "linkat": 37, "symlinkat": 36, "fchmod": 52, "fchmodat": 53, "umask": 166, "truncate": 45, "ftruncate": 46,
    "fallocate": 47, "utimensat": 88, "fsync": 82, "fdatasync": 83, "flock": 32, "fcntl": 25, "statfs": 43,
    "fstatfs": 44, "copy_file_range": 285, "sendfile": 71, "fadvise64": 223, "mmap": 222, "munmap": 215,
    "mprotect": 226, "mremap": 216, "madvise": 233, "brk": 214, "mincore": 232, "msync": 227, "execve": 221,
    "execveat": 281, "exit": 93, "exit_group": 94, "wait4": 260, "waitid": 95, "set_tid_address": 96,
    "set_robust_list": 99, "rseq": 293, "futex": 98, "sched_yield": 124, "sched_getaffinity": 123, "membarrier": 283,
    "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "rt_sigsuspend": 133, "rt_sigpending": 136,
    "rt_sigtimedwait": 137, "sigaltstack": 132, "kill": 129, "tgkill": 131, "tkill": 130, "setitimer": 103,
    "getitimer": 102, "restart_syscall": 128, "ppoll": 73, "pselect6": 72, "epoll_create1": 20, "epoll_ctl": 21,
    "epoll_pwait": 22, "eventfd2": 19, "nanosleep": 101, "clock_nanosleep": 115, "clock_gettime": 113,
    "clock_getres": 114, "gettimeofday": 169, "times": 153, "getrusage": 165, "sysinfo": 179, "uname": 160,
    "getpid": 172, "gettid": 178, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
    "getgroups": 158, "getpgid": 155, "setpgid": 154, "getsid": 156, "setsid": 157, "getresuid": 148,
    "getresgid": 150, "getpriority": 141, "prlimit64": 261, "getrlimit": 163, "setrlimit": 164, "getrandom": 278,
    "sendto": 206, "recvfrom": 207, "clone": 220, "ioctl": 29, "prctl": 167, "socketpair": 199,
}  # fmt: skip

_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}  # AUDIT_ARCH_*, numbers

_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
# Allowed values of one argument: (its position, the values).
_ARGUMENTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "ioctl": (1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIO(N)CLEX
    "prctl": (0, (15, 16)),  # PR_SET_NAME PR_GET_NAME
    "socketpair": (0, (1,)),  # AF_UNIX
}

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, ..|JSET|K, BPF_RET|K
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # SECCOMP_RET_*
_NUMBER, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data


def supported(machine: str) -> bool:
    """Whether the numbers of `machine` (`platform.machine()`) are known."""
    return machine in _MACHINES


def program_filter(machine: str) -> bytes:
    """The filter for `machine`. Raises KeyError where its numbers are not known."""
    arch, numbers = _MACHINES[machine]
    steps = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    for name, number in numbers.items():
        then = _checks(name)
        steps += [(_JUMP_EQUAL, 0, len(then), number), *then]
    steps.append((_RETURN, 0, 0, _ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _checks(name: str) -> list[tuple[int, int, int, int]]:
    """What follows once the call's name is known; it always returns."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    if name == "clone":
        return [(_LOAD, 0, 0, _ARGS), (_JUMP_SET, 0, 1, _NEW_NAMESPACES), refuse, allow]
    if name not in _ARGUMENTS:
        return [allow]
    position, values = _ARGUMENTS[name]
    tests = [(_JUMP_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [(_LOAD, 0, 0, _ARGS + 8 * position), *tests, refuse, allow]
