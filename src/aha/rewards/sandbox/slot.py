"""A slot: one bubblewrap with a warm interpreter in it, and the socket to it.

slot = Slot(number=0, unsafe=False)
slot.request({"op": "program", ...}, seconds=20)   # starts it where it is not running
slot.close()

Everything that reaches the program is read-only but /tmp: /usr, the interpreter's folder, three devices. No network,
no /proc, no environment of ours. Raises SandboxError where it cannot start, naming the missing piece.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from aha.rewards.sandbox.kernel import sealed
from aha.rewards.sandbox.seccomp import program_filter, supported

START_SECONDS = 60.0
FIRST_UID, UIDS = 60_000, 5_000  # unused by Debian, Fedora and systemd
_HERE = Path(__file__).parent
_SHIPPED = ("zygote.py", "kernel.py", "values.py")
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PYTHONPATH": "/opt",
    "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1",
}  # fmt: skip
# Warm-up and hash seed as in the environment; no site packages, no bytecode, no folder of the script on the path.
_FLAGS = ["-s", "-S", "-P", "-B"]


class SandboxError(RuntimeError):
    """The sandbox could not start, was not free in time, or broke. It says nothing about the program."""


class Slot:
    """One sandbox, used by one thread at a time."""

    def __init__(self, number: int, unsafe: bool = False) -> None:
        self._number, self._unsafe = number, unsafe
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._folder: str | None = None

    @property
    def pid(self) -> int | None:
        """The process at the root of the slot, where it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def request(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The zygote's answer to `message`, at most `seconds` later.

        A slot that died while idle is started anew. Raises SandboxError where it cannot start, dies or does not answer.
        """
        self.start()
        try:
            try:
                self._send(message, seconds)
            except ConnectionError:
                self.close()
                self.start()
                self._send(message, seconds)
            return self._receive(seconds)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise SandboxError(f"the sandbox broke while it ran a program ({_named(error)})") from error

    def start(self) -> None:
        """Start it where it is not running. Raises SandboxError, naming the missing piece."""
        if self.pid is not None:
            return
        self.close()
        missing = None if self._unsafe else missing_piece()
        if missing:
            raise SandboxError(missing)
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            self._control = ours
            try:
                self._process = _keeper().run(lambda: self._spawn(theirs.fileno(), errors))
                theirs.close()
                wanted = None if self._unsafe else program_filter(platform.machine()).hex()
                self._send({"filter": wanted}, START_SECONDS)
                self._receive(START_SECONDS)
            except (OSError, EOFError, ValueError) as error:
                self.close()
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()
                raise SandboxError(_explained(said[-1] if said else _named(error))) from error

    def close(self) -> None:
        """End it, with everything in it. It can be started again."""
        process, control, folder = self._process, self._control, self._folder
        self._process, self._control, self._folder = None, None, None
        if control is not None:
            control.close()  # the zygote ends when this end is gone
        if process is not None:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                process.kill()  # bubblewrap's child dies with it, and all that is in its pid namespace
                process.wait(10)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self) -> None:
        """In a forked child: let go of the parent's slot without ending it."""
        if self._control is not None:
            self._control.close()
        self._process, self._control, self._folder = None, None, None

    def _spawn(self, control: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        if self._unsafe:
            self._folder = tempfile.mkdtemp(prefix="aha-unsafe-")
            for name in _SHIPPED:
                target = Path(self._folder, "sandbox", name)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(_HERE / name, target)
            command = [sys.executable, *_FLAGS, "-m", "sandbox.zygote", str(control)]
            environment = {**_ENVIRONMENT, "PYTHONPATH": self._folder, "TMPDIR": tempfile.gettempdir()}
            return _popen(command, (control,), errors, environment)
        with contextlib.ExitStack() as stack:
            shipped = {name: sealed((_HERE / name).read_bytes()) for name in _SHIPPED}
            for handle in shipped.values():
                stack.callback(os.close, handle)
            command = _bubblewrap(control, shipped)
            if os.geteuid() == 0:
                user = FIRST_UID + (os.getpid() * 16 + self._number) % UIDS
                launch = [sys.executable, "-I", "-S", str(_HERE / "launch.py")]
                command = [*launch, str(user), sys.base_prefix, *command]
            return _popen(command, (control, *shipped.values()), errors, {})

    def _send(self, message: dict[str, Any], seconds: float) -> None:
        assert self._control is not None
        self._control.settimeout(seconds)
        body = json.dumps(message).encode()
        self._control.sendall(struct.pack(">I", len(body)) + body)

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self._control is not None
        self._control.settimeout(seconds)
        with self._control.makefile("rb") as file:
            header = file.read(4)
            if len(header) < 4:
                raise EOFError
            (length,) = struct.unpack(">I", header)
            body = file.read(length)
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise ValueError("no answer")
        return answer


def missing_piece() -> str | None:
    """What can be seen to be missing before a sandbox is tried, in one sentence."""
    if sys.platform != "linux":
        return f"the sandbox needs Linux; this is {sys.platform}"
    if not supported(platform.machine()):
        return f"the sandbox has no seccomp filter for {platform.machine()}; it knows x86_64 and aarch64"
    if shutil.which("bwrap") is None:
        return "bubblewrap is missing: install the package bubblewrap (apt-get install bubblewrap)"
    return None


def _bubblewrap(control: int, shipped: dict[str, int]) -> list[str]:
    """The command that sets up namespaces and file systems, and becomes the zygote."""
    command = [
        str(shutil.which("bwrap")), "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
        "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN",
        "--clearenv",
    ]  # fmt: skip
    for name, value in _ENVIRONMENT.items():
        command += ["--setenv", name, value]
    command += ["--ro-bind", "/usr", "/usr"]
    for folder in ("/bin", "/lib", "/lib64"):
        if os.path.islink(folder):
            command += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            command += ["--ro-bind", folder, folder]
    if not sys.base_prefix.startswith("/usr"):
        for part in ("bin", "lib"):
            command += ["--ro-bind", f"{sys.base_prefix}/{part}", f"{sys.base_prefix}/{part}"]
    for device in ("null", "zero", "urandom"):
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for name, handle in shipped.items():
        command += ["--ro-bind-data", str(handle), f"/opt/sandbox/{name}"]
    command += ["--proc", "/proc", "--dir", "/tmp", "--chdir", "/", "--remount-ro", "/"]
    return [*command, os.path.realpath(sys.executable), *_FLAGS, "-m", "sandbox.zygote", str(control)]


def _popen(
    command: list[str], handles: tuple[int, ...], errors: IO[bytes], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=quiet, stdout=quiet, stderr=errors, pass_fds=handles, env=environment, cwd="/"
    )


class _Keeper:
    """A thread that starts the slots: bubblewrap dies with the *thread* that started it, and this one never ends."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Any, Future[Any]]] = SimpleQueue()
        threading.Thread(target=self._serve, name="aha-sandbox-keeper", daemon=True).start()

    def run(self, job: Any) -> Any:
        """What `job()` returns or raises, in the keeper's thread."""
        future: Future[Any] = Future()
        self._work.put((job, future))
        return future.result(START_SECONDS)

    def _serve(self) -> None:
        while True:
            job, future = self._work.get()
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)


_kept: list[_Keeper] = []
_keeping = threading.Lock()


def _keeper() -> _Keeper:
    with _keeping:
        if not _kept:
            _kept.append(_Keeper())
        return _kept[0]


def _new_process() -> None:
    """In a forked child the thread is gone and the lock may be held by nobody."""
    global _keeping
    _keeping = threading.Lock()
    _kept.clear()


os.register_at_fork(after_in_child=_new_process)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _explained(said: str) -> str:
    """bubblewrap's own last word, and what it usually means."""
    remedy = ""
    if "namespace" in said or "uid map" in said or "not permitted" in said:
        remedy = "; the kernel or the container forbids user namespaces (kernel.unprivileged_userns_clone, AppArmor)"
    return f"the sandbox cannot start: {said[:300]}{remedy}"
