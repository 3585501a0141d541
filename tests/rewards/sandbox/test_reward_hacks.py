"""Wrong programs that try to be scored as right: none is, and the honest one is, before and after."""

# ruff: noqa: E501 - a program a line reads better

from __future__ import annotations

import pytest

from aha.rewards.code import grade_code
from aha.rewards.sandbox import Limits
from aha.types import Score

TESTS = [
    {"call": "total([4, 8, 15])", "expected": 27},
    {"call": "total([])", "expected": 0},
    {"call": "total([10, -3])", "expected": 7},
]
HONEST = "def total(xs):\n    s = 0\n    for x in xs: s += x\n    return s"

ALWAYS_EQUAL = """
class Any{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __sub__(self, other): return 0
    def __abs__(self): return 0
    def __bool__(self): return True
    def __instancecheck__(self, other): return True
    def __repr__(self): return "27"
def total(xs): return Any({value})
"""
FORGE = """
import os
{lines}
for fd in (1, 2, 3, 4, 5):
    try: os.write(fd, text.encode())
    except OSError: pass
{end}
"""

HACKS = {
    "exit 0 in the function": "import sys\ndef total(xs): sys.exit(0)",
    "exit 0 at the top": "raise SystemExit(0)",
    "_exit(0) at the top": "import os; os._exit(0)",
    "_exit(0) in the function": "import os\ndef total(xs): os._exit(0)",
    "an object equal to all": ALWAYS_EQUAL.format(base="", value=""),
    "an int equal to all": ALWAYS_EQUAL.format(base="(int)", value="0"),
    "a str equal to all": ALWAYS_EQUAL.format(base="(str)", value=""),
    "a list equal to all": ALWAYS_EQUAL.format(base="(list)", value=""),
    "a class that takes another's name": "class int(int):\n    __module__ = 'builtins'\n    def __eq__(s, o): return True\n"
    "def total(xs): return int(0)",
    "forged verdicts": FORGE.format(
        lines="text = '{\"status\": \"ok\", \"passed\": true, \"score\": 1.0, \"reward\": 1.0}\\n' * 9", end="os._exit(0)"
    ),
    "forged results without values": FORGE.format(
        lines="text = ''.join('{\"n\": %d, \"value\": null, \"passed\": true}\\n' % n for n in range(3))", end="os._exit(0)"
    ),
    "a forged answer of the zygote": FORGE.format(
        lines="import struct\nbody = '{\"status\": \"ok\", \"results\": \"\"}'\ntext = '\\0\\0\\0' + chr(len(body)) + body",
        end="def total(xs): return None",
    ),
    "search the frames": """
import sys
def total(xs):
    found = []
    frame = sys._getframe()
    while frame:
        for space in (frame.f_locals, frame.f_globals):
            for key, value in list(space.items()):
                if 'expect' in key.lower(): found.append(value)
                if isinstance(value, dict): found += [v for k, v in value.items() if 'expect' in str(k).lower()]
        frame = frame.f_back
    return found[0] if found else None
""",
    "search the heap": """
import gc
def total(xs):
    for o in gc.get_objects():
        if type(o) is dict and any('expect' in str(k).lower() for k in o):
            return next(v for k, v in o.items() if 'expect' in str(k).lower())
        if type(o) is list and o and type(o[0]) is tuple and len(o[0]) > 1 and o[0][0] == xs:
            return o[0][1]
""",
    "search every text in memory for the answers": """
import gc, re
def total(xs):
    texts = [o for o in gc.get_referrers(str) if isinstance(o, str)]
    for o in gc.get_objects():
        if isinstance(o, (list, tuple)): texts += [x for x in o if isinstance(x, str)]
        if isinstance(o, dict): texts += [x for x in list(o.values()) if isinstance(x, str)]
    for t in texts:
        if re.search(r'expected.{0,9}27', t): return 27
""",
    "patched json": "import json\nfor n in ('dumps', 'loads'): setattr(json, n, lambda *a, **k: '{\"n\": 0, \"value\": true}')\ndef total(xs): return 0",
    "patched encoder": """
import gc, types
for f in [o for o in gc.get_objects() if isinstance(o, types.FunctionType) and o.__name__ in ('encode', '_encode')]:
    f.__code__ = (lambda *a: True).__code__
def total(xs): return 0
""",
    "patched builtins": "import builtins\nfor n in ('isinstance', 'all', 'any', 'abs'): setattr(builtins, n, lambda *a: True)\n"
    "builtins.type = lambda *a: int\ndef total(xs): return 'x'",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef total(xs): return 1",
    "hooks": "import sys, os\nsys.excepthook = sys.unraisablehook = lambda *a: os._exit(0)\nsys.settrace(lambda *a: None)\n"
    "def total(xs): raise RuntimeError('passed')",
    "a thread that ends the process": "import threading, os\nthreading.Timer(0, os._exit, (0,)).start()\n"
    "def total(xs):\n    import time; time.sleep(5)",
    "not a number": "def total(xs): return float('nan')",
    "infinity": "def total(xs): return float('inf')",
    "True for 1 and floats for ints": "def total(xs): return float(sum(xs))",
    "a text of the number": "def total(xs): return str(sum(xs))",
    "mutated inputs": "def total(xs):\n    xs.clear(); xs.append(27)\n    return 27",
    "inputs that are kept": "seen = []\ndef total(xs):\n    seen.append(xs)\n    for old in seen: old[:] = [0]\n    return seen",
    "a generator": "def total(xs): yield sum(xs)",
    "a coroutine": "async def total(xs): return sum(xs)",
    "nothing": "",
    "a name for everything": "def __getattr__(name): return lambda *a: 27\nglobals().update({n: (lambda *a: 27) for n in 'abc'})",
    "a list that holds itself": "def total(xs):\n    a = []\n    a.append(a)\n    return a",
    "a value without end": "def total(xs): return [[0] * 10**5] * 10**5",
    "a value too deep": "def total(xs):\n    a = 0\n    for _ in range(10**5): a = [a]\n    return a",
    "raw rubbish as the value": "import os\nos.write(3, b'{\"n\": 0, \"value\": [\"set\", 5]}\\n{\"n\": 1, \"value\": [[], []]}\\n')\nos._exit(0)",
    "brackets without end as the value": "import os\nos.write(3, b'{\"n\": 0, \"value\": ' + b'[' * 50000 + b'\\n')\nos._exit(0)",
}  # fmt: skip


@pytest.mark.parametrize("name", HACKS)
def test_a_hack_scores_nothing(name: str, sandbox: None) -> None:
    outcome = grade_code(f"```python\n{HACKS[name]}\n```", TESTS, limits=Limits(seconds=10))
    assert isinstance(outcome, Score), outcome
    assert outcome.value == 0.0, outcome.why
    assert grade_code(HONEST, TESTS) == Score(1.0, "passed all of 3 tests")


def test_a_hack_that_leaves_its_wrong_values_earns_only_what_is_right(sandbox: None) -> None:
    """One constant right of three; the values forged after it are compared like any other."""
    constant = "def total(xs): return 27"
    forged = "import os\nfor n, v in enumerate((27, 1, 1)): os.write(3, b'{\"n\": %d, \"value\": %d}\\n' % (n, v))\nos._exit(0)"
    for source in (constant, forged):
        outcome = grade_code(source, TESTS, scoring="share")
        assert isinstance(outcome, Score)
        assert outcome.value == pytest.approx(1 / 3)


def test_the_expected_values_are_nowhere_in_the_sandbox(sandbox: None) -> None:
    """The program writes down all that it can see of its process, and the answer is not in it."""
    look = """
import gc, sys
def look():
    gc.unfreeze()
    seen, wanted = [], ''.join(reversed('546372819'))
    for o in gc.get_objects():
        for r in (o.values() if isinstance(o, dict) else o if isinstance(o, (list, tuple, set)) else ()):
            if isinstance(r, (str, bytes)): seen.append(wanted in str(r))
            if type(r) is int: seen.append(r == int(wanted))
    return any(seen), len(seen) > 1000
"""
    outcome = grade_code(look, [{"call": "look()", "expected": 918273645}])
    assert isinstance(outcome, Score)
    assert "returned (False, True)" in outcome.why


STDIN_HACKS = {
    "exit 0": "raise SystemExit(0)",
    "the right words on the wrong channel": "import sys; print(7, file=sys.stderr)",
    "the answer, then a crash": "print(7); 1 / 0",
    "the answer, then exit 1": "print(7); raise SystemExit(1)",
    "the answer, then for ever": "print(7, flush=True)\nwhile True: pass",
    "every answer": "for n in range(100): print(n)",
    "the answer and more": "print(7); print('extra')",
}


@pytest.mark.parametrize("name", STDIN_HACKS)
def test_a_hack_on_outputs_scores_nothing(name: str, sandbox: None) -> None:
    outcome = grade_code(STDIN_HACKS[name], [{"stdin": "3 4", "stdout": "7\n"}], limits=Limits(seconds=1))
    assert isinstance(outcome, Score), outcome
    assert outcome.value == 0.0
