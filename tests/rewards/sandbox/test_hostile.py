"""Every hostile program is stopped by what it could bring about, and the slot goes on serving."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from pathlib import Path

import pytest
from decoys import SECRET, Host
from hostile import CALL, PROGRAMS, Hostile

from aha.rewards.sandbox import Limits, Pool, run_program

HONEST = "import sys; print(sum(int(x) for x in sys.stdin.read().split()))"


@pytest.fixture(autouse=True)
def secret_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHA_TEST_SECRET", SECRET)


def processes_of(pid: int) -> int:
    """Processes of the host below `pid`."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        try:
            if name.isdigit():
                parents[int(name)] = int(Path("/proc", name, "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it has ended meanwhile

    def below(child: int) -> bool:
        while child in parents:
            child = parents[child]
            if child == pid:
                return True
        return False

    return sum(below(child) for child in parents)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_program_is_stopped(name: str, pool: Pool, host: Host) -> None:
    hostile: Hostile = PROGRAMS[name]
    assert run_program("print(0)", pool=pool).stdout == "0\n"
    slot, alone = pool.slots[0].pid, processes_of(pool.slots[0].pid or 0)
    library = Path(random.__file__).read_bytes()
    before = (sorted(os.listdir(host.folder)), os.stat("/usr/bin").st_mode, hashlib.sha256(library).digest())

    ran = run_program(host.fill(hostile.source), limits=Limits(seconds=hostile.seconds, memory_mb=96), pool=pool)

    assert hostile.holds(ran), ran
    assert SECRET not in ran.stdout + ran.stderr
    assert ran.seconds < 4 * hostile.seconds + 5
    library = Path(random.__file__).read_bytes()
    after = (sorted(os.listdir(host.folder)), os.stat("/usr/bin").st_mode, hashlib.sha256(library).digest())
    assert after == before
    assert host.decoy.read_text() == SECRET
    assert host.sentinel.poll() is None
    assert host.visitors == []
    assert pool.slots[0].pid == slot, "the slot lives on"
    assert processes_of(slot or 0) == alone, "nothing outlives its run"
    source, wanted = hostile.aftermath
    assert run_program(source, pool=pool).stdout == wanted
    assert run_program(HONEST, "3 4 5", pool=pool).stdout == "12\n"


RARE = {  # numbers of x86_64
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434, "pidfd_getfd": 438,
    "unshare": 272, "setns": 308, "clone3": 435, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
    "fsopen": 430, "open_tree": 428, "move_mount": 429, "mount_setattr": 442, "bpf": 321, "perf_event_open": 298,
    "io_uring_setup": 425, "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249, "init_module": 175,
    "finit_module": 313, "delete_module": 176, "kexec_load": 246, "reboot": 169, "swapon": 167, "syslog": 103,
    "acct": 163, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "open_by_handle_at": 304,
    "name_to_handle_at": 303, "fanotify_init": 300, "inotify_init1": 294, "quotactl": 179, "personality": 135,
    "modify_ldt": 154, "iopl": 172, "ioperm": 173, "vmsplice": 278, "shmget": 29, "msgget": 68, "semget": 64,
    "mq_open": 240, "sethostname": 170, "setdomainname": 171, "seccomp": 317, "memfd_create": 319,
    "memfd_secret": 447, "landlock_create_ruleset": 444, "set_mempolicy": 238, "move_pages": 279, "kcmp": 312,
    "lookup_dcookie": 212, "setxattr": 188, "mknod": 133, "chown": 92, "setuid": 105, "capset": 126, "splice": 275,
    "sched_setattr": 314, "ioprio_set": 251, "socket": 41, "connect": 42, "sendmsg": 46, "x32 getpid": 0x40000000 | 39,
}  # fmt: skip


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
def test_rare_system_calls_do_not_exist(pool: Pool) -> None:
    source = CALL + f"for name, number in {RARE!r}.items(): print(name, call(number, 0, 0, 0, 0, 0), sep='=')"
    answers = dict(line.split("=") for line in run_program(source, pool=pool).stdout.splitlines())
    assert answers == dict.fromkeys(RARE, "-38")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize("flag", [0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000])
def test_no_new_namespace_by_clone(flag: int, pool: Pool) -> None:
    """The child of a clone that passed would print too."""
    assert run_program(CALL + f"print(call(56, {flag} | 17, 0, 0, 0, 0))", pool=pool).stdout == "-1\n"
    assert socket.gethostname() != "sandbox"


def test_no_capability_and_no_way_to_one(pool: Pool) -> None:
    ran = run_program(
        CALL + "print(libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0), libc.prctl(22, 2, 0, 0, 0), os.getuid())",
        pool=pool,
    )
    assert ran.stdout == "-1 -1 -1 1000\n"


def test_no_terminal_can_be_typed_into(pool: Pool) -> None:
    assert run_program(CALL + "print(call(16, 0, 0x5412, b'x'))", pool=pool).stdout == "-1\n"


@pytest.mark.parametrize(
    ("source", "harm"),
    [
        ("print(open('@DECOY@').read())", SECRET),
        ("import socket; print(socket.create_connection(('127.0.0.1', @PORT@), 1).recv(99).decode())", SECRET),
        ("open('@FOLDER@/harm', 'w').write('x'); import os; print(os.path.exists('@FOLDER@/harm'))", "True"),
        ("import os; os.kill(@SENTINEL@, 0); print('found')", "found"),
        ("import os; print(os.memfd_create('x') > 0)", "True"),
    ],
)
def test_the_same_programs_do_their_harm_without_a_sandbox(source: str, harm: str, host: Host) -> None:
    """Else the tests above would pass for another reason than the sandbox."""
    pool = Pool(1, unsafe=True)
    try:
        assert harm in run_program(host.fill(source), pool=pool).stdout
    finally:
        pool.close()
        (host.folder / "harm").unlink(missing_ok=True)
        host.visitors.clear()
