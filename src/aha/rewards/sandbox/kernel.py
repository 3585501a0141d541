"""What the kernel does for a job, called by zygote.py inside the sandbox. Standard library only.

`Namespaces` is the sandbox; `Bare` has the same methods and is what remains for `unsafe` runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import struct
import tempfile

SLACK = 512 << 20  # bytes of address space that threads and libraries may reserve beyond what they use
_NEWPID, _DETACH = 0x20000000, 2
_NOSUID, _NODEV, _NOATIME = 2, 4, 1024
_NO_NEW_PRIVS, _SET_SECCOMP, _AMBIENT, _AMBIENT_CLEAR = 38, 22, 47, 4
_CAPABILITY_VERSION = 0x20080522
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def sealed(content: bytes) -> int:
    """A descriptor, at its beginning, of a file in memory that holds `content` and cannot be changed."""
    handle = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(handle, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(handle, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(handle, fcntl.F_ADD_SEALS, seals)
    return handle


def _times(folder: str) -> tuple[int, ...]:
    now = os.stat(folder)
    return (now.st_mode, now.st_uid, now.st_gid, now.st_nlink, now.st_mtime_ns, now.st_ctime_ns)


def _starved(path: str, folder: int | None) -> float:
    try:
        with open(os.open(path, os.O_RDONLY, dir_fd=folder)) as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # it has ended, or this kernel does not count
        return 0.0


class Namespaces:
    """What the kernel gives each job: a pid namespace, a fresh /tmp, a count of the memory of all its processes."""

    def __init__(self, program_filter: bytes) -> None:
        self._filter = program_filter
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        _check(_LIBC.umount2(b"/proc", _DETACH), "hiding /proc")  # from now on it is seen through self._proc alone
        self._files_mb = 0
        self._untouched: tuple[int, ...] = ()
        self._virtual, self._resident = self._size(str(os.getpid()))

    def fresh_folder(self, files_mb: int) -> str:
        """An empty /tmp of `files_mb` MiB. One that no job has touched is kept: its time of change tells."""
        if self._files_mb:
            if self._files_mb == files_mb and _times("/tmp") == self._untouched and not os.listdir("/tmp"):
                return "/tmp"
            _check(_LIBC.umount2(b"/tmp", _DETACH), "emptying /tmp")
        options = f"size={files_mb}m,nr_inodes=512,mode=700".encode()
        flags = ctypes.c_ulong(_NOSUID | _NODEV | _NOATIME)
        _check(_LIBC.mount(b"tmpfs", b"/tmp", b"tmpfs", flags, options), "mounting /tmp")
        self._files_mb, self._untouched = files_mb, _times("/tmp")
        return "/tmp"

    def fork(self) -> int:
        """Fork; the child is the first process of a new pid namespace, so that its end is the end of all its kin."""
        _check(_LIBC.unshare(_NEWPID), "making a pid namespace")
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                _check(_LIBC.setns(self._own, _NEWPID), "returning to the pid namespace")
        return pid

    def confine(self) -> None:
        """In the child: give up every capability, and every system call that the filter does not list."""
        header, none, zero = struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24), ctypes.c_ulong(0)
        _check(_LIBC.prctl(_AMBIENT, ctypes.c_ulong(_AMBIENT_CLEAR), zero, zero, zero), "clearing capabilities")
        _check(_LIBC.capset(header, none), "dropping capabilities")
        _check(_LIBC.prctl(_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero), "setting no_new_privs")
        steps = ctypes.create_string_buffer(self._filter)
        program = struct.pack("HP", len(self._filter) // 8, ctypes.addressof(steps))
        _check(_LIBC.prctl(_SET_SECCOMP, ctypes.c_ulong(2), ctypes.c_char_p(program), zero, zero), "filtering calls")

    def kill(self, pid: int) -> None:
        """End the child, and with it its pid namespace."""
        os.kill(pid, signal.SIGKILL)

    def kill_rest(self, pid: int) -> None:
        """Nothing is left: a pid namespace ends with its first process."""

    def memory(self, pid: int) -> int:
        """Bytes that all processes of the job hold beyond what this interpreter holds."""
        own = {"1", str(os.getpid())}
        jobs = [name for name in os.listdir(self._proc) if name.isdigit() and name not in own]
        return sum(max(0, self._size(name)[1] - self._resident) for name in jobs)

    def address_space(self, memory: int) -> int:
        """Bytes of address space for a program that may hold `memory` bytes."""
        return self._virtual + memory + SLACK

    def close(self) -> None:
        """Nothing is left behind: all file systems end with the sandbox."""

    def starved(self, pid: int) -> float:
        """Seconds for which the job's first thread was ready to run and the machine too busy to run it."""
        return _starved(f"{pid}/schedstat", self._proc)

    def _size(self, pid: str) -> tuple[int, int]:
        """Bytes of address space, and of memory in use; 0 for a process that has ended."""
        try:
            with open(os.open(f"{pid}/statm", os.O_RDONLY, dir_fd=self._proc)) as file:
                virtual, resident = file.read().split()[:2]
        except (OSError, ValueError):
            return 0, 0
        return int(virtual) * _PAGE, int(resident) * _PAGE


class Bare:
    """What is left without a sandbox: a folder, a session, and the resource limits. For `unsafe` runs alone."""

    def __init__(self) -> None:
        self._folder = ""

    def fresh_folder(self, files_mb: int) -> str:
        """A new folder; the one before is removed."""
        self.close()
        self._folder = tempfile.mkdtemp(prefix="aha-unsafe-")
        return self._folder

    def fork(self) -> int:
        """Fork, no more."""
        return os.fork()

    def confine(self) -> None:
        """Nothing can be given up without a sandbox."""

    def kill(self, pid: int) -> None:
        """End the child and what stayed in its session."""
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                end(pid, signal.SIGKILL)

    def kill_rest(self, pid: int) -> None:
        """End what the child left in its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def memory(self, pid: int) -> int:
        """Not known without a process namespace; the limit on address space stands."""
        return 0

    def address_space(self, memory: int) -> int:
        """Bytes of address space for a program that may hold `memory` bytes."""
        return memory + SLACK

    def starved(self, pid: int) -> float:
        """Seconds for which the job's first thread was ready to run and the machine too busy to run it."""
        return _starved(f"/proc/{pid}/schedstat", None)

    def close(self) -> None:
        """Remove the folder."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
