"""Programs that mean harm, and what must be true once each has run.

`@DECOY@` and the like are places on the host (see conftest.py). A check looks at what the program could bring about;
its `aftermath` program, where there is one, runs next in the same slot and looks for what was left behind.
"""

# ruff: noqa: E501 - a program a line reads better

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aha.rewards.sandbox import Ran

CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    return result if result >= 0 else -ctypes.get_errno()
"""
TRY = """
import os
def attempt(what):
    try:
        return ("did", what())
    except BaseException as error:
        return ("failed", type(error).__name__)
"""
LOOK = "import os; print(os.listdir('/tmp'), os.stat('/tmp').st_mode & 0o777)"
CLEAN = "[] 448\n"


@dataclass(frozen=True)
class Hostile:
    """A program, what must hold of its run, and what its successor in the slot must print."""

    source: str
    holds: Callable[[Ran], bool]
    aftermath: tuple[str, str] = (LOOK, CLEAN)
    seconds: float = 10.0


def failed(ran: Ran) -> bool:
    """The program caught its own failure and lived to say so."""
    return ran.status == "ok" and "failed" in ran.stdout and "did" not in ran.stdout


def at_most(most: int) -> Callable[[Ran], bool]:
    """The number that it printed last is at least 1 and at most `most`."""

    def holds(ran: Ran) -> bool:
        numbers = [int(n) for n in re.findall(r"\d+", ran.stdout)]
        return bool(numbers) and 1 <= numbers[-1] <= most

    return holds


def status(*wanted: str) -> Callable[[Ran], bool]:
    return lambda ran: ran.status in wanted


FILES = {
    "read a file of the host": Hostile(TRY + "print(attempt(lambda: open('@DECOY@').read()))", failed),
    "overwrite a file of the host": Hostile(TRY + "print(attempt(lambda: open('@DECOY@', 'w').write('x')))", failed),
    "make a file on the host": Hostile(TRY + "print(attempt(lambda: open('@FOLDER@/new', 'w')))", failed),
    "read the accounts": Hostile(TRY + "print([attempt(lambda: open(p).read()) for p in ('/etc/passwd', '/etc/shadow')])", failed),
    "reach it by a symbolic link": Hostile(
        TRY + "os.symlink('@DECOY@', '/tmp/link'); print(attempt(lambda: open('/tmp/link').read()))", failed
    ),
    "reach it by a hard link": Hostile(TRY + "print(attempt(lambda: os.link('@DECOY@', '/tmp/link')))", failed),
    "climb out of the folder": Hostile(TRY + "print(attempt(lambda: open('../' * 40 + '@DECOY@'.lstrip('/')).read()))", failed),
    "look for it everywhere": Hostile(
        "import os\nfound = []\nfor d, inside, files in os.walk('/'):\n    inside[:] = [i for i in inside if i not in ('usr', 'lib')]\n"
        "    found += [d] * ('decoy.txt' in files)\nprint(found)", lambda ran: ran.stdout == "[]\n"
    ),
    "write outside its folder": Hostile(
        TRY + "print([attempt(lambda: open(p + '/aha-left', 'w')) for p in ('/', '/usr', '/usr/bin', '/opt', '/dev', '/proc')])",
        failed,
        ("import os; print([p for p in ('', '/usr', '/usr/bin', '/opt', '/dev') if os.path.exists(p + '/aha-left')])", "[]\n"),
    ),
    "change the interpreter's library": Hostile(TRY + "import random; print(attempt(lambda: open(random.__file__, 'a')))", failed),
    "change the sandbox's own program": Hostile(TRY + "print(attempt(lambda: open('/opt/sandbox/zygote.py', 'a')))", failed),
    "change rights in /usr": Hostile(TRY + "print(attempt(lambda: os.chmod('/usr/bin', 0o777)))", failed),
    "read the host's environment": Hostile(
        TRY + "print(dict(os.environ)); print(attempt(lambda: open('/proc/1/environ', 'rb').read()))",
        lambda ran: "AHA_TEST_SECRET" not in ran.stdout and "failed" in ran.stdout,
    ),
    "read /proc": Hostile("import os; print(os.listdir('/proc'))", lambda ran: ran.stdout == "[]\n"),
    "open devices": Hostile("import os; print(sorted(os.listdir('/dev')))", lambda ran: ran.stdout == "['null', 'urandom', 'zero']\n"),
    "make a device": Hostile(TRY + "print(attempt(lambda: os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))))", failed),
    "use descriptors that are left open": Hostile(
        "import os\nopened = []\nfor fd in range(4, 4096):\n    try: os.fstat(fd); opened.append(fd)\n    except OSError: pass\n"
        "print(opened)",
        lambda ran: ran.stdout == "[]\n",
    ),
    "write rubbish to every descriptor": Hostile(
        "import os\nfor fd in range(3, 300):\n    try: os.write(fd, b'\\x00\\x00\\x00\\x02{}' * 100)\n    except OSError: pass\nprint('end')",
        lambda ran: ran.stdout == "end\n",
    ),
}  # fmt: skip

PROCESSES = {
    "kill everything": Hostile(TRY + "print(attempt(lambda: os.kill(-1, 9)))", lambda ran: True),
    "kill a process of the host": Hostile(TRY + "print(attempt(lambda: os.kill(@SENTINEL@, 9)))", failed),
    "kill its parent": Hostile("import os, signal; print(os.getppid()); os.kill(0, signal.SIGTERM)", lambda ran: ran.stdout in ("", "0\n")),
    "look for others": Hostile(
        TRY + "print([p for p in range(2, 40000) if attempt(lambda: os.kill(p, 0))[0] == 'did'])", lambda ran: ran.stdout == "[]\n"
    ),
    "fork without end": Hostile(
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\n        n += 1\n"
        "except OSError: print(n, flush=True)",
        at_most(40),
    ),
    "fork exponentially": Hostile(
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", status("timeout", "memory"), seconds=1.0
    ),
    "threads without end": Hostile(
        "import threading, time\nn = 0\ntry:\n    while True:\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "        n += 1\nexcept RuntimeError: print(n, flush=True)",
        at_most(40),
    ),
    "a daemon that outlives": Hostile(
        "import os, signal, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        for n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\n"
        "        while True:\n            open('/tmp/alive', 'a').write('x'); time.sleep(0.01)\n    os._exit(0)\n"
        "time.sleep(0.05)\nprint(os.path.exists('/tmp/alive'))",
        lambda ran: ran.stdout == "True\n",
        ("import os, time; time.sleep(0.1); print(os.listdir('/tmp'))", "[]\n"),
    ),
    "a child that keeps the output open": Hostile(
        "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nprint('gone')", lambda ran: ran.stdout == "gone\n" and ran.seconds < 9
    ),
    "a better place in the queue": Hostile(TRY + "print(attempt(lambda: os.nice(-5)), attempt(lambda: os.sched_setscheduler(0, 1, os.sched_param(50))))", failed),
    "another processor": Hostile(TRY + "print(attempt(lambda: os.sched_setaffinity(0, {0})))", failed),
    "lift the limits": Hostile(
        TRY + "import resource as r\nprint([attempt(lambda: r.setrlimit(k, (1 << 40, 1 << 40))) for k in (r.RLIMIT_AS, r.RLIMIT_NPROC, r.RLIMIT_FSIZE, r.RLIMIT_NOFILE)])",
        failed,
    ),
    "more rights by a set-uid program": Hostile(
        "import os, subprocess\nprint(subprocess.run(['/usr/bin/su', '-c', 'id'], capture_output=True, stdin=subprocess.DEVNULL).returncode if os.path.exists('/usr/bin/su') else 1)",
        lambda ran: ran.stdout != "0\n",
    ),
    "never end": Hostile("while True: pass", status("timeout"), seconds=0.5),
    "never end, deaf to signals": Hostile(
        "import signal\nfor n in range(1, 64):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: signal.pause()",
        status("timeout"),
        seconds=0.5,
    ),
    "stop itself": Hostile("import os, signal, time\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: time.sleep(1)", status("timeout"), seconds=0.5),
    "close its output and sleep": Hostile("import os, time\nfor n in range(5):\n    try: os.close(n)\n    except OSError: pass\ntime.sleep(60)", status("timeout"), seconds=0.5),
    "crash the interpreter": Hostile("import ctypes; ctypes.string_at(0)", lambda ran: ran.status == "error" and ran.exit == -11),
    "overflow the stack": Hostile("import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()", status("error", "memory")),
}  # fmt: skip

MEMORY = {
    "memory by one": Hostile("x = []\nwhile True: x.append(b'x' * 10**6)", status("memory")),
    "memory at once": Hostile("x = b'x' * 10**11", status("memory")),
    "memory by many": Hostile(
        "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        x = b'x' * (30 << 20); time.sleep(60)\ntime.sleep(60)", status("memory")
    ),
    "memory by a child, while the parent waits": Hostile(
        "import os\nif os.fork() == 0:\n    x = []\n    while True: x.append(b'x' * 10**6)\nos.wait(); import time; time.sleep(60)",
        status("memory", "timeout"),
    ),
    "shared memory": Hostile("import mmap\nm = mmap.mmap(-1, 400 << 20)\nm.write(b'x' * (400 << 20))\nimport time; time.sleep(60)", status("memory")),
    "memory in files without a name": Hostile(TRY + "print(attempt(lambda: os.memfd_create('x')))", failed),
    "locked memory": Hostile(CALL + "print(call(149, 0, 4096), call(151, 1))", lambda ran: ran.stdout == "-38 -38\n"),
    "fill the disk": Hostile(
        "n = 0\ntry:\n    with open('/tmp/big', 'wb', buffering=0) as f:\n        while True: n += f.write(b'x' * 65536)\nexcept OSError: print(n >> 20)",
        at_most(32),
    ),
    "fill the disk by many files": Hostile(
        "n = 0\ntry:\n    while True:\n        with open(f'/tmp/{n}', 'wb', buffering=0) as f:\n            f.write(b'x' * (1 << 20))\n        n += 1\nexcept OSError: print(n)",
        at_most(33),
    ),
    "use up the inodes": Hostile("n = 0\ntry:\n    while True: open(f'/tmp/{n}', 'w').close(); n += 1\nexcept OSError: print(n)", at_most(512)),
    "a file of a terabyte": Hostile(TRY + "f = open('/tmp/f', 'wb')\nprint(attempt(lambda: f.truncate(1 << 40)))", failed),
    "open files without end": Hostile(
        "import os\nn = 0\ntry:\n    while True: os.open('/dev/null', 0); n += 1\nexcept OSError: print(n)", at_most(256)
    ),
    "pipes without end": Hostile("import os\nn = 0\ntry:\n    while True: os.pipe(); n += 1\nexcept OSError: print(n)", at_most(128)),
    "output without end": Hostile("while True: print('x' * 1000)", lambda ran: ran.status == "killed" and len(ran.stdout) <= 65536),
    "errors without end": Hostile(
        "import sys\nwhile True: sys.stderr.write('x' * 1000)", lambda ran: ran.status == "killed" and len(ran.stderr) <= 65536
    ),
    "results without end": Hostile("import os\nwhile True: os.write(3, b'x' * 65536)", status("killed")),
}  # fmt: skip

NETWORK = {
    "call the host": Hostile(TRY + "import socket\nprint(attempt(lambda: socket.create_connection(('127.0.0.1', @PORT@), 1).recv(99)))", failed),
    "call the host by its abstract socket": Hostile(
        TRY + "import socket\ndef go():\n    s = socket.socket(socket.AF_UNIX); s.connect('\\0@ABSTRACT@'); return s.recv(99)\nprint(attempt(go))", failed
    ),
    "listen": Hostile(TRY + "import socket\nprint(attempt(lambda: socket.create_server(('0.0.0.0', 0))))", failed),
    "sockets of every family": Hostile(
        CALL + "print([f for f in range(46) for kind in (1, 2, 3, 5) if call(41, f, kind, 0) >= 0])", lambda ran: ran.stdout == "[]\n"
    ),
    "pairs of every family but the local one": Hostile(
        CALL + "b = (ctypes.c_int * 2)()\nprint([f for f in range(46) if call(53, f, 1, 0, b) >= 0])", lambda ran: ran.stdout == "[1]\n"
    ),
    "resolve a name": Hostile(TRY + "import socket\nprint(attempt(lambda: socket.getaddrinfo('example.org', 80)))", failed),
}  # fmt: skip

LEFTOVERS = {
    "a file for the next run": Hostile("open('/tmp/left', 'w').write('x')", status("ok")),
    "a hidden folder for the next run": Hostile("import os; os.makedirs('/tmp/.a/b'); os.chmod('/tmp/.a', 0)", status("ok")),
    "a mode for the next run": Hostile("import os; os.chmod('/tmp', 0o555)", status("ok")),
    "a time for the next run": Hostile(
        "import os; os.utime('/tmp', (12345, 12345))", status("ok"), ("import os; print(os.stat('/tmp').st_mtime == 12345)", "False\n")
    ),
    "an attribute for the next run": Hostile(
        TRY + "print(attempt(lambda: os.setxattr('/tmp', 'user.left', b'x')))", failed, (TRY + "print(attempt(lambda: os.getxattr('/tmp', 'user.left'))[0])", "failed\n")
    ),
    "a patch for the next run": Hostile(
        "import builtins, json, sys\njson.dumps = lambda *a: 'bad'\nbuiltins.print = None\nsys.modules['math'] = None",
        status("ok"),
        ("import json, math; print(json.dumps(math.floor(1.5)))", "1\n"),
    ),
    "a patch in the sandbox's own modules": Hostile(
        "import sys, gc\nfor m in list(sys.modules.values()):\n    if 'sandbox' in getattr(m, '__name__', ''):\n        m.__dict__.clear()",
        lambda ran: True,
    ),
    "an environment for the next run": Hostile(
        "import os; os.environ['LEFT'] = '1'; os.putenv('LEFT', '1')", status("ok"), ("import os; print(os.environ.get('LEFT'))", "None\n")
    ),
    "a file that is deleted again": Hostile("import os; open('/tmp/a', 'w').close(); os.remove('/tmp/a')", status("ok")),
}  # fmt: skip

PROGRAMS = {**FILES, **PROCESSES, **MEMORY, **NETWORK, **LEFTOVERS}
