"""The program inside the sandbox: a warm interpreter that forks one job at a time. Standard library only.

python -m sandbox.zygote FD   # FD: a stream socket to slot.py; slot.py ships this folder's files as `sandbox`

It is the one file that runs a model's text, in a child that has its own pid namespace, no capability, the system calls
of seccomp.py and the limits of the request. The child sees the inputs of its own run and nothing else worth having:
expected outputs never come here.

A message is JSON behind a length of 4 bytes. First comes {"filter": hex, or null where unsafe}, answered by {}; then
requests {"op", "source", "stdin", "calls", "limits"}, each answered by
{"status", "exit", "stdout", "stderr", "results", "seconds"}. `op`: "program" runs Python, "calls" runs it and calls its
functions, "compile" makes a program of C++ that "binary" runs.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from .kernel import Bare, Namespaces, sealed
from .values import decode, encode

WARM = (
    "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "io", "itertools", "math", "operator", "queue", "random", "re", "statistics",
    "string", "textwrap", "typing", "unittest",
)  # fmt: skip
MAX_RESULTS = 4 << 20  # bytes of all values of one run
TICK = 0.02  # seconds between two looks at a job's memory
RESULTS, READY, BINARY, FREE = 3, 4, 5, 6  # descriptors of a job; the rest is closed
STACK = 64 << 20
SETTLING = 30.0  # seconds for a job to be confined

System = Namespaces | Bare


def send(control: socket.socket, message: Any) -> None:
    """Write one message."""
    body = json.dumps(message).encode()
    control.sendall(struct.pack(">I", len(body)) + body)


def receive(control: socket.socket) -> Any:
    """Read one message. Raises EOFError where the other end is gone."""
    (length,) = struct.unpack(">I", _exactly(control, 4))
    return json.loads(_exactly(control, length))


def _exactly(control: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = control.recv(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class Job(NamedTuple):
    """What a child is to do, and the descriptors that it is to do it with."""

    request: Any
    folder: str
    handles: tuple[int, ...]  # stdin, stdout, stderr, RESULTS, READY
    binary: int


def settle(job: Job, system: System) -> None:
    """Take the descriptors, the folder and the limits; raises OSError where any of them cannot be had."""
    for number, handle in enumerate(job.handles):
        os.dup2(handle, number)
    if job.binary >= 0:
        os.dup2(job.binary, BINARY)
    os.closerange(BINARY if job.binary < 0 else FREE, 1 << 16)
    os.setsid()  # else a signal to its own process group reaches the zygote
    os.chdir(job.folder)
    limits, memory = job.request["limits"], int(job.request["limits"]["memory_mb"]) << 20
    bounds = {
        resource.RLIMIT_AS: system.address_space(memory),
        resource.RLIMIT_CPU: int(limits["seconds"]) + 2,
        resource.RLIMIT_FSIZE: int(limits["files_mb"]) << 20,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_STACK: STACK,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if isinstance(system, Namespaces):  # elsewhere all processes of the user count
        bounds[resource.RLIMIT_NPROC] = int(limits["processes"]) + 3  # and bubblewrap's two, and the zygote
    for kind, bound in bounds.items():
        _, most = resource.getrlimit(kind)
        bound = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (bound, bound))
    system.confine()


def work(job: Job, system: System) -> NoReturn:
    """Run the job and end this process. READY hears "ok" and the time before its text runs, or what went wrong."""
    try:
        settle(job, system)
        sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape")
        sys.argv = ["program.py"]
    except BaseException as error:
        for handle in (READY, job.handles[READY]):  # the one that is open
            with contextlib.suppress(OSError):
                os.write(handle, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.write(READY, f"ok {time.monotonic()}".encode())
    os.close(READY)
    request, job = job.request, None  # type: ignore[assignment]
    if request["op"] in ("compile", "binary"):
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        compiler = [request.get("compiler", ""), "-O2", "-std=c++17", "-x", "c++", "-", "-o", "program"]
        binary = request["op"] == "binary"
        os.execve(BINARY if binary else compiler[0], ["program"] if binary else compiler, dict(os.environ))
    source, calls = request["source"], request["calls"]
    del request
    if calls is None:
        leave(lambda: load(source, "__main__"))
    call_all(source, calls)
    os._exit(0)


def load(source: str, name: str) -> dict[str, Any]:
    """Run `source` as the module `name`; its namespace."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def leave(program: Callable[[], Any]) -> NoReturn:
    """Run `program` and end as an interpreter does: exit status, traceback, threads, atexit, flush."""
    status = 0
    try:
        program()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        status = 1
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


def call_all(source: str, calls: list[str]) -> None:
    """Run `source`, then each call; a line of JSON for each is written as soon as it has returned."""
    try:
        namespace = load(source, "solution")
    except BaseException as error:
        _write({"n": -1, "error": _described(error)})
        return
    for number, call in enumerate(calls):
        try:
            name, args, kwargs = json.loads(call)
            if name not in namespace:
                raise NameError(f"the program defines no {name!r}")
            value = namespace[name](*map(decode, args), **{key: decode(item) for key, item in kwargs.items()})
            _write({"n": number, "value": encode(value)})
        except BaseException as error:
            _write({"n": number, "error": _described(error)})


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}".removesuffix(": ")


def _write(line: Any) -> None:
    body = json.dumps(line).encode() + b"\n"
    while body:
        body = body[os.write(RESULTS, body) :]


# --- the zygote ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests until the other end is gone. In a child, run its job."""
    control = socket.socket(fileno=fcntl.fcntl(int(sys.argv[1]), fcntl.F_DUPFD_CLOEXEC, 10))
    for number in range(3, FREE):  # so that no descriptor of ours stands where a job's will
        os.dup2(0, number)
    os.closerange(FREE, 10)
    sys.path[:] = [folder for folder in sys.path if os.path.dirname(os.path.dirname(__file__)) != folder]
    for name in WARM:
        importlib.import_module(name)
    program_filter = receive(control)["filter"]
    system: System = Bare() if program_filter is None else Namespaces(bytes.fromhex(program_filter))
    gc.collect()
    gc.freeze()
    send(control, {})
    try:
        job = serve(control, system)
    except (EOFError, ConnectionError):
        system.close()
        return
    work(job, system)


def serve(control: socket.socket, system: System) -> Job:
    """Answer requests one by one. Comes back in a child only, with its job."""
    compiled, binary = "", -1
    while True:
        request = receive(control)
        if request["op"] == "compile" and request["source"] == compiled:
            send(control, {"status": "ok", "exit": 0, "stdout": "", "stderr": "", "results": "", "seconds": 0.0})
            continue
        folder = system.fresh_folder(request["limits"]["files_mb"])
        stdin = sealed((request["source"] if request["op"] == "compile" else request["stdin"]).encode(errors="replace"))
        reading, writing = zip(*(os.pipe2(os.O_CLOEXEC) for _ in range(4)), strict=True)
        pid = system.fork()
        if pid == 0:
            return Job(request, folder, (stdin, *writing), binary if request["op"] == "binary" else -1)
        for handle in (stdin, *writing):
            os.close(handle)
        answer = Watch(control, system, pid, reading, request["limits"]).wait()
        if request["op"] == "compile":
            if binary >= 0:
                os.close(binary)
            binary = _open_binary(folder) if answer["status"] == "ok" else -1
            compiled = request["source"] if binary >= 0 else ""
            if binary < 0 and answer["status"] == "ok":
                answer |= {"status": "error", "stderr": "the compiler made no program"}
        send(control, answer)


def _open_binary(folder: str) -> int:
    """The compiled program, which lives on in its file system after that is gone from /tmp; -1 where there is none."""
    try:
        handle = os.open(f"{folder}/program", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return -1


class Watch:
    """Reads what a job writes, and ends it at its limits."""

    def __init__(
        self, control: socket.socket, system: System, pid: int, pipes: tuple[int, ...], limits: dict[str, Any]
    ) -> None:
        self.control, self.system, self.pid, self.limits = control, system, pid, limits
        self.begun = time.monotonic()
        self.deadline = self.begun + SETTLING
        self.texts = [bytearray() for _ in pipes]  # stdout, stderr, results, ready
        self.places = dict(zip(pipes, self.texts, strict=True))
        self.stopped: str | None = None
        self.ended = False
        self.handle = os.pidfd_open(pid)

    def wait(self) -> dict[str, Any]:
        """Wait for the job's end; what it did. Raises EOFError where the other end of `control` is gone."""
        poller = select.poll()
        for number in (*self.places, self.handle, self.control.fileno()):
            os.set_blocking(number, number == self.control.fileno())
            poller.register(number, select.POLLIN | select.POLLRDHUP)
        looked, started = self.begun, False
        while not self.ended:
            now = time.monotonic()
            events = poller.poll(1000 * max(0.0, min(TICK, self.deadline - now)))
            for number, _ in events:
                if number in self.places and not self._read(number):
                    poller.unregister(number)
                self.ended = self.ended or number == self.handle
                if not started and self.texts[-1].startswith(b"ok "):  # the program's own time began then
                    started, self.begun = True, float(self.texts[-1][3:])
                    self.deadline = self.begun + self.limits["seconds"]
                if number == self.control.fileno():
                    self._stop("killed")
                    raise EOFError
            now = time.monotonic()
            if now >= self.deadline:
                self.deadline = self._extended() if started else now
                if now >= self.deadline:
                    self._stop("timeout")
            elif now - looked >= TICK and not self.ended:
                looked = now
                if self.system.memory(self.pid) > self.limits["memory_mb"] << 20:
                    self._stop("memory")
        return self._answer()

    def _extended(self) -> float:
        """The end of its time: what a busy machine kept it waiting does not count, up to three times its limit."""
        seconds: float = self.limits["seconds"]
        return self.begun + seconds + min(self.system.starved(self.pid), 3 * seconds)

    def _read(self, number: int) -> bool:
        """Take what is there; False at the end. Ends a job that has written too much."""
        try:
            part = os.read(number, 1 << 16)
        except BlockingIOError:
            return True
        self.places[number] += part
        stdout, stderr, results, _ = self.texts
        if len(stdout) + len(stderr) > self.limits["output_kb"] << 10 or len(results) > MAX_RESULTS:
            self._stop("killed")
        return bool(part)

    def _stop(self, reason: str) -> None:
        if self.stopped is None:
            self.stopped, self.deadline = reason, math.inf  # the kernel ends it soon; slot.py waits with a bound
            if not self.ended:
                self.system.kill(self.pid)

    def _answer(self) -> dict[str, Any]:
        _, status = os.waitpid(self.pid, 0)
        code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.begun
        self.system.kill_rest(self.pid)
        for number in self.places:
            before = -1
            while self.stopped is None and before != (size := len(self.places[number])):
                before = size
                self._read(number)
            os.close(number)
        os.close(self.handle)
        stdout, stderr, results, ready = (bytes(text).decode(errors="replace") for text in self.texts)
        cap = self.limits["output_kb"] << 10
        reason = self.stopped or ("ok" if code == 0 else "error")
        if reason == "error" and _out_of_memory(stderr):
            reason = "memory"
        if not ready.startswith("ok "):
            reason, stderr = "refused", ready or "it ended before it was confined"
        answer = {"status": reason, "exit": code, "stdout": stdout[:cap], "stderr": stderr[:cap]}
        return {**answer, "results": results, "seconds": seconds}


def _out_of_memory(stderr: str) -> bool:
    last = (stderr.strip().splitlines() or [""])[-1]
    return last.startswith("MemoryError") or "std::bad_alloc" in last


if __name__ == "__main__":
    main()
