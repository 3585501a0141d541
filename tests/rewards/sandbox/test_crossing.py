"""What crosses the wall: encoded values, the filter of system calls, literals of a test's author."""

from __future__ import annotations

import contextlib
import errno
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.rewards.sandbox.compare import canonical, difference, encoded, viewed
from aha.rewards.sandbox.literals import parse_call, parse_literal
from aha.rewards.sandbox.seccomp import program_filter, supported
from aha.rewards.sandbox.values import decode, encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner)
    | st.dictionaries(HASHABLE, inner, max_size=3)
    | st.sets(HASHABLE, max_size=3),
    max_leaves=12,
)  # fmt: skip
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["list", "set", "dict", "int", "x"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def typed(value: Any) -> Any:
    """The value with the type of every part, so that True and 1 differ."""
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(typed(item)) for item in value)
    if isinstance(value, dict):
        return dict, sorted((repr(typed(key)), repr(typed(item))) for key, item in value.items())
    return type(value), repr(value)


@settings(deadline=None)
@given(VALUES)
def test_a_value_comes_back_with_its_types(value: Any) -> None:
    tree = json.loads(json.dumps(encode(value)))
    assert typed(decode(tree)) == typed(value)
    assert difference(tree, encoded(value)) is None
    assert canonical(tree) == canonical(encoded(decode(tree)))


@settings(deadline=None)
@given(VALUES, VALUES)
def test_equal_means_equal_in_value_and_type(a: Any, b: Any) -> None:
    same = repr(typed(a)).replace("-0.0", "0.0") == repr(typed(b)).replace("-0.0", "0.0")
    assert (difference(encoded(a), encoded(b)) is None) == same


@settings(deadline=None)
@given(VALUES, TREES)
def test_a_forged_tree_is_a_difference_or_a_value_error(expected: Any, tree: Any) -> None:
    for view in (None, "list", "set", "sorted", "bool"):
        with contextlib.suppress(ValueError):
            got = viewed(tree, view) if view else tree
            if difference(encoded(expected), got) is None:
                assert typed(decode(got)) == typed(decode(encoded(expected)))
    with contextlib.suppress(ValueError):
        decode(tree)


def test_colliding_keys_cost_no_more_than_others() -> None:
    """Multiples of 2**61 - 1 all hash to 0: as keys of a dict they would cost hours."""
    tree = ["set", [["int", hex(n * (2**61 - 1))] for n in range(20_000)]]
    assert difference(encoded({1}), tree) == "not equal"
    assert difference(encoded({1: 2}), ["dict", [[item, 0] for item in tree[1]]]) == "20000 keys in place of 1"


def test_values_have_bounds() -> None:
    deep: Any = 0
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        encode(deep)
    with pytest.raises(ValueError, match="large"):
        encode([0] * 400_000)
    with pytest.raises(TypeError, match="object"):
        encode([object()])


@pytest.mark.parametrize("text", ["f(1, -2.5, k=[(1,), {2: {3}}])", " f(1, -2.5, k = [(1,), {2: set([3])}]) "])
def test_a_call_is_read(text: str) -> None:
    call = parse_call(text)
    assert (call.function, call.args, call.kwargs) == ("f", (1, -2.5), {"k": [(1,), {2: {3}}]})


@settings(deadline=None)
@given(st.text(alphabet="f()[]{}1,*-+'x=:. \n", max_size=60))
def test_any_text_is_a_call_or_its_authors_mistake(text: str) -> None:
    for read in (parse_call, parse_literal):
        with contextlib.suppress(UserError):
            read(text)


def run_filter(program: bytes, arch: int, number: int, *args: int) -> int:
    """What the kernel makes of the filter: classic BPF, the five instructions that it uses."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(args + (0,) * 6)[:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    place, value = 0, 0
    while True:
        code, yes, no, operand = steps[place]
        if code == 0x06:
            return operand
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
            yes = no = 0
        place += 1 + (yes if (value == operand if code == 0x15 else value & operand) else no)


ALLOW, KILL = 0x7FFF0000, 0x80000000
NONE, NOT = 0x00050000 | errno.ENOSYS, 0x00050000 | errno.EPERM
MACHINES = {  # AUDIT_ARCH; read, clone, clone3, ioctl, prctl, socketpair, socket, ptrace, execve
    "x86_64": (0xC000003E, 0, 56, 435, 16, 157, 53, 41, 101, 59),
    "aarch64": (0xC00000B7, 63, 220, 435, 29, 167, 199, 198, 117, 221),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_allows_what_it_lists_and_no_more(machine: str) -> None:
    arch, read, clone, clone3, ioctl, prctl, pair, socket, ptrace, execve = MACHINES[machine]
    program = program_filter(machine)

    def verdict(number: int, *args: int) -> int:
        return run_filter(program, arch, number, *args)

    assert verdict(read) == verdict(execve) == ALLOW
    assert {verdict(number) for number in (clone3, socket, ptrace, 5000, 2**31, read | 0x40000000)} == {NONE}
    assert verdict(clone, 17) == verdict(clone, 0x3D0F00) == ALLOW  # as fork, and as pthread_create
    assert {verdict(clone, 17 | 1 << bit) for bit in (17, 25, 26, 27, 28, 29, 30)} == {NOT}
    assert [verdict(ioctl, 0, command) for command in (0x5401, 0x5451, 0x5412)] == [ALLOW, ALLOW, NOT]
    assert [verdict(prctl, option) for option in (15, 16, 22, 38)] == [ALLOW, ALLOW, NOT, NOT]
    assert [verdict(pair, family) for family in (1, 2, 16)] == [ALLOW, NOT, NOT]
    assert run_filter(program, 0x40000003, read) == KILL  # 32-bit calls
    assert len(program) // 8 < 4096
    assert supported(machine)


def test_other_machines_are_not_supported() -> None:
    assert not supported("riscv64")
