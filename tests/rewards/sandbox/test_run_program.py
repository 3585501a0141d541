"""Honest programs, and the figures that come back; C++; files; the pool from threads, after deaths and after forks."""

# ruff: noqa: E501 - a program a line reads better

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from decoys import Host

from aha.errors import UserError
from aha.rewards.sandbox import Call, Limits, Pool, SandboxError, available, run_calls, run_file, run_program
from aha.rewards.sandbox import pool as pool_module
from aha.rewards.sandbox.run import compiler

cpp = pytest.mark.skipif(compiler() is None, reason="g++ is missing")


@pytest.mark.parametrize(
    ("source", "status", "exit_status", "stdout", "stderr"),
    [
        ("print(input()[::-1])", "ok", 0, "cba\n", ""),
        ("import sys; sys.exit(3)", "error", 3, "", ""),
        ("import sys; sys.exit('why')", "error", 1, "", "why\n"),
        ("import sys; sys.exit()", "ok", 0, "", ""),
        ("import sys; sys.exit(256)", "ok", 0, "", ""),
        ("print('a', end='')", "ok", 0, "a", ""),
        ("import atexit; atexit.register(print, 'bye')", "ok", 0, "bye\n", ""),
        ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()", "ok", 0, "late\n", ""),
        ("if __name__ == '__main__': print(__name__)", "ok", 0, "__main__\n", ""),
        ("print('é漢🙂')", "ok", 0, "é漢🙂\n", ""),
        ("import os; os.abort()", "error", -11, "", ""),
        ("open('/tmp/a', 'w').write('x'); print(open('/tmp/a').read())", "ok", 0, "x\n", ""),
        ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\nprint(P(1))", "ok", 0, "P(x=1)\n", ""),
        ("import subprocess; print(subprocess.run(['/usr/bin/env', 'echo', 'hi'], capture_output=True, text=True).stdout)", "ok", 0, "hi\n\n", ""),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    print('async')\nasyncio.run(f())", "ok", 0, "async\n", ""),
        ("from concurrent.futures import ThreadPoolExecutor as T\nwith T(8) as t: print(sum(t.map(abs, range(-99, 0))))", "ok", 0, "4950\n", ""),
        ("import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(40000))", "ok", 0, "40000\n", ""),
        ("x = list(range(2 * 10**6)); print(len(x))", "ok", 0, "2000000\n", ""),
        ("print({'a', 'b', 'c', 'd'})", "ok", 0, None, ""),
        ("", "ok", 0, "", ""),
    ],
)  # fmt: skip
def test_an_honest_program(
    source: str, status: str, exit_status: int, stdout: str | None, stderr: str, pool: Pool
) -> None:
    ran = run_program(source, "abc", Limits(seconds=20), pool=pool)
    assert (ran.status, ran.exit, ran.stderr) == (status, exit_status, stderr), ran
    assert stdout is None or ran.stdout == stdout
    assert 0 < ran.seconds < 80


def test_an_exception_shows_the_programs_own_lines_alone(pool: Pool) -> None:
    ran = run_program("def f():\n    return 1 / 0\nf()", pool=pool)
    assert (ran.status, ran.exit) == ("error", 1)
    assert ran.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert ran.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "sandbox" not in ran.stderr
    for source in ("def f(:", "\0", "x = '\ud800'"):
        assert run_program(source, pool=pool).status == "error"


def test_runs_are_deterministic(pool: Pool) -> None:
    """The order of a set follows the hash seed; a verdict must not depend on the slot."""
    source = "print({str(n) for n in range(50)})"
    other = Pool(1)
    try:
        assert run_program(source, pool=pool).stdout == run_program(source, pool=other).stdout
    finally:
        other.close()


def test_random_numbers_differ_from_run_to_run(pool: Pool) -> None:
    source = "import random; print(random.random())"
    assert run_program(source, pool=pool).stdout != run_program(source, pool=pool).stdout


def test_stdin_is_whole_and_cannot_be_changed(pool: Pool) -> None:
    big = "x" * 3_000_000
    assert run_program("import sys; print(len(sys.stdin.read()))", big, pool=pool).stdout == "3000000\n"
    assert run_program("import os; os.write(0, b'x')", "abc", pool=pool).status == "error"
    assert run_program("print(input())", "", pool=pool).status == "error"


def test_limits_are_checked() -> None:
    nan = float("nan")
    for wrong in ({"seconds": 0}, {"seconds": nan}, {"memory_mb": 1}, {"output_kb": True}, {"processes": 10**6}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Limits(**wrong)
    with pytest.raises(UserError, match="rust"):
        run_program("", language="rust")


def test_calls(pool: Pool) -> None:
    source = "def f(x, *, k=0):\n    x.append(k)\n    return x\ndef g(): raise ValueError('no')\n"
    source += "def h(): return open\nn = 0\ndef count():\n    global n\n    n += 1\n    return n"
    calls = [Call("f", ([1],), {"k": (2, {3: b"x"})}), Call("g"), Call("h"), Call("zzz"), Call("count"), Call("count")]
    first, *others = run_calls(source, calls, Limits(), pool=pool)
    assert first.value == [1, (2, {3: b"x"})]
    assert [(r.status, r.why) for r in others[:3]] == [
        ("error", "raised ValueError: no"),
        ("error", "raised TypeError: a value of type builtin_function_or_method is no plain data"),
        ("error", "raised NameError: the program defines no 'zzz'"),
    ]
    assert [r.value for r in others[3:]] == [1, 2]


def test_calls_after_the_end_of_the_process_have_its_status(pool: Pool) -> None:
    source = "import os\ndef f(x): return x\ndef g():\n    while True: pass"
    results = run_calls(source, [Call("f", (1,)), Call("g"), Call("f", (2,))], Limits(seconds=0.5), pool=pool)
    assert [r.status for r in results] == ["ok", "timeout", "timeout"]
    assert "the program itself raised ZeroDivisionError" in run_calls("1 / 0", [Call("f")] * 2, pool=pool)[1].why
    with pytest.raises(UserError, match="object"):
        run_calls(source, [Call("f", (object(),))], pool=pool)


@cpp
def test_cpp(pool: Pool, host: Host) -> None:
    limits = Limits(seconds=10, compile_seconds=300)
    double = "#include <cstdio>\nint main() { int x; std::scanf(\"%d\", &x); std::printf(\"%d\\n\", 2 * x); }"
    assert run_program(double, "21", limits, "cpp", pool=pool).stdout == "42\n"
    begun = time.monotonic()
    assert run_program(double, "4", limits, "cpp", pool=pool).stdout == "8\n"
    assert time.monotonic() - begun < 20, "not compiled again"
    wrong = run_program("int main() { return y; }", "", limits, "cpp", pool=pool)
    assert (wrong.status, wrong.exit) == ("error", 1)
    assert "'y' was not declared" in wrong.stderr.replace("‘", "'").replace("’", "'")
    for include in (f'#include "{host.decoy}"\n', f'asm(".incbin \\"{host.decoy}\\"");\n'):
        stolen = run_program(include + "int main() {}", "", limits, "cpp", pool=pool)
        assert stolen.status == "error"
        assert "secret" not in stolen.stderr
    leak = "#include <vector>\nint main() { std::vector<long> v; for (;;) v.push_back(1); }"
    assert run_program(leak, "", limits, "cpp", pool=pool).status == "memory"
    brief = Limits(seconds=0.5, compile_seconds=300)
    assert run_program("int main() { for (;;); }", "", brief, "cpp", pool=pool).status == "timeout"
    socket = "#include <sys/socket.h>\n#include <cerrno>\nint main() { return socket(1, 1, 0) < 0 ? errno : 0; }"
    assert run_program(socket, "", limits, "cpp", pool=pool).exit == 38
    assert run_program("print(1)", pool=pool).stdout == "1\n"


def test_run_file(tmp_path: Path, sandbox: None) -> None:
    program, stdin = tmp_path / "p.py", tmp_path / "in.txt"
    program.write_text("print(int(input()) + 1)")
    stdin.write_text("41\n")
    result = run_file(program, stdin, 20)
    assert json.loads(json.dumps(result)).keys() == {"status", "exit", "stdout", "stderr", "seconds"}
    assert (result["status"], result["exit"], result["stdout"]) == ("ok", 0, "42\n")
    with pytest.raises(UserError, match="nowhere"):
        run_file(tmp_path / "nowhere.py")
    stdin.write_bytes(b"\xff")
    with pytest.raises(UserError, match="as text"):
        run_file(program, stdin)


def test_many_threads_share_the_slots(sandbox: None) -> None:
    pool = Pool(2)
    try:
        with ThreadPoolExecutor(8) as threads:
            outputs = list(threads.map(lambda n: run_program(f"print({n})", pool=pool).stdout, range(60)))
        assert outputs == [f"{n}\n" for n in range(60)]
    finally:
        pool.close()


def test_a_slot_that_died_is_started_again(pool: Pool) -> None:
    assert run_program("print(1)", pool=pool).stdout == "1\n"
    pid = pool.slots[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while pool.slots[0].pid is not None:
        time.sleep(0.01)
    assert run_program("print(2)", pool=pool).stdout == "2\n"
    assert pool.slots[0].pid not in (None, pid)


def test_a_slot_that_dies_under_a_run_is_a_failure_and_not_a_verdict(pool: Pool) -> None:
    assert run_program("print(1)", pool=pool).stdout == "1\n"
    pid = pool.slots[0].pid
    assert pid is not None
    killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    killer.start()
    ran = run_program("import time; time.sleep(60)", limits=Limits(seconds=60), pool=pool)
    killer.join()
    assert ran.status == "refused"
    assert "broke" in ran.stderr
    assert run_program("print(2)", pool=pool).stdout == "2\n"


def test_a_run_waits_for_a_free_slot_no_longer_than_it_may(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "WAIT_SECONDS", 0.1)
    with pool.slot():
        ran = run_program("print(1)", pool=pool)
        assert (ran.status, "no sandbox was free" in ran.stderr) == ("refused", True)
    with pytest.raises(SandboxError, match="wait"):
        crowded = Pool(1)
        while True:
            crowded._waiting.acquire(blocking=False)
            with crowded.slot():
                pass


def test_the_slots_of_an_ended_thread_live_on(pool: Pool) -> None:
    """The kernel would end them with the thread that started them, were that not the keeper."""
    pool.close()
    starter = threading.Thread(target=run_program, args=("pass",), kwargs={"pool": pool})
    starter.start()
    starter.join()
    pid = pool.slots[0].pid
    time.sleep(0.3)
    assert run_program("print(1)", pool=pool).stdout == "1\n"
    assert pool.slots[0].pid == pid


TRAINER = """
import os, sys, time
from aha.rewards.sandbox import run_program
from aha.rewards.sandbox.pool import shared_pool
import threading
assert run_program("print(1)").stdout == "1\\n"
child = os.fork() if sys.argv[1] == "fork" else -1
if child == 0:
    assert run_program("print(2)").stdout == "2\\n"
    shared_pool().close()
    os._exit(0)
if child > 0:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run_program("print(3)").stdout == "3\\n"
threading.Thread(target=run_program, args=("import time; time.sleep(100)", ""), daemon=True).start()
print(*(slot.pid for slot in shared_pool().slots if slot.pid), flush=True)
if sys.argv[1] == "hang": time.sleep(100)
"""


@pytest.mark.parametrize("way", ["exit", "fork", "hang"])
def test_the_process_leaves_nothing_behind(way: str, sandbox: None) -> None:
    """Whether it ends by itself, after a fork, or is killed."""
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER, way], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    if way == "hang":
        trainer.kill()
    assert trainer.wait(120) == (-signal.SIGKILL if way == "hang" else 0)
    trainer.stdout.close()
    assert pids
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a slot outlives its process"
        time.sleep(0.05)


def test_available_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, sandbox: None) -> None:
    assert available() is None
    for name, value, sentence in (
        ("sys.platform", "darwin", "needs Linux"),
        ("platform.machine", lambda: "riscv64", "riscv64"),
        ("shutil.which", lambda *a, **k: None, "bubblewrap is missing"),
        ("shutil.which", lambda *a, **k: "/bin/false", "cannot start"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"aha.rewards.sandbox.slot.{name}", value)
            patch.setattr("aha.rewards.sandbox.pool._pools", {})
            assert sentence in str(available())
            ran = run_program("print(1)")
            assert (ran.status, ran.exit, ran.stdout) == ("refused", None, "")
            assert sentence in ran.stderr
