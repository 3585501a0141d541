"""Functions to write: what is asked, what hidden calls tell apart, and what a program must do to score."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.sandbox import available
from aha.tasks import functions
from aha.tasks.functions import (
    FAMILIES,
    OPERATIONS,
    PROBES,
    SHOWN,
    Function,
    Functions,
    Step,
    everything,
    expression,
    key_of,
    program,
    question,
    value,
)  # fmt: skip
from aha.tasks.splits import split_of
from aha.types import Problem, Score, Split

needs_sandbox = pytest.mark.skipif(available() is not None, reason=str(available()))
SPLITS: tuple[Split, ...] = ("train", "test")
TASKS = [Functions(), Functions(seed=7, chinese=1.0), Functions(examples=1.0, chinese=0.5), Functions(examples=0.0)]
HEADS = re.compile(r"Write f\((x|s)\) for a (?:number|list|text) \1: (.*)\.|写f\((x|s)\)，\3是(?:数|列表|文本)：(.*)。")
SHOWN_CALL = re.compile(r"f\((.*?)\)=(\[.*?\]|\d+)")


def asked(problem: Problem) -> str:
    return problem.messages[0].content


def function_of(problem: Problem) -> Function:
    function = problem.hidden["function"]
    assert isinstance(function, Function)
    return function


def score(task: Functions, problem: Problem, answer: str | None) -> float:
    outcome = task.grade(problem, answer)
    assert isinstance(outcome, Score), outcome
    return outcome.value


def problems(count: int) -> Iterator[tuple[Functions, Split, Problem]]:
    for task in TASKS:
        for split in SPLITS:
            yield from ((task, split, task.problem(split, index)) for index in range(count))


def run(code: str, x: Any) -> Any:
    """The value of a program of ours, which is trusted, lists as tuples; `value` knows nothing of its text."""
    names: dict[str, Any] = {}
    exec(code, names)
    got = names["f"](list(x) if isinstance(x, tuple) else x)
    return tuple(got) if isinstance(got, list) else got


def test_programs_do_what_the_callables_do() -> None:
    rng = random.Random(0)
    for domain in FAMILIES:
        known = list(everything(domain).values())
        for function in [f for f in known if len(f.steps) < 2] + rng.sample(known, 300):
            for x in rng.sample(PROBES[domain], 4):
                got = run(program(function), x)
                assert got == value(function, x) and type(got) is type(value(function, x)), (function, x)


@pytest.mark.parametrize(
    ("domain", "steps", "code", "words", "chinese"),
    [
        ("number", [("times", 3), ("plus", 2)], "x*3+2", "multiply by 3, then add 2", "乘3，再加2"),
        ("number", [("plus", 2), ("times", 3)], "(x+2)*3", "add 2, then multiply by 3", "加2，再乘3"),
        ("number", [("times", 3), ("from", 20)], "20-x*3", "multiply by 3, then subtract it from 20",
         "乘3，再用20减它"),
        ("number", [("over", 3), ("times", 2)], "x//3*2", "divide by 3, rounding down, then multiply by 2",
         "除以3取整，再乘2"),
        ("list", [("down", None), ("first", 2)], "sorted(s)[::-1][:2]", "sort it, largest first, then keep the first 2",
         "从大到小排，再留前2个"),
        ("list", [("above", 5), ("sum", None)], "sum([i for i in s if i>5])", "keep those above 5, then take the sum",
         "留大于5的，再求和"),
        ("text", [("end", "a"), ("repeat", 2)], "(s+'a')*2", "add 'a' at the end, then repeat it 2 times",
         "末尾加'a'，再重复2次"),
        ("text", [("replace", "ab")], "s.replace('a','b')", "replace 'a' by 'b'", "把'a'换成'b'"),
    ],
)  # fmt: skip
def test_a_function_in_code_and_words(domain: str, steps: list[Any], code: str, words: str, chinese: str) -> None:
    function = Function(domain, tuple(Step(*step) for step in steps))
    name = "x" if domain == "number" else "s"
    assert expression(function) == code and program(function) == f"def f({name}): return {code}"
    assert question(function, "en") == f"Write f({name}) for a {domain} {name}: {words}."
    assert question(function, "zh").endswith(f"：{chinese}。")


def test_examples_in_words() -> None:
    line = Function("number", (Step("times", 3), Step("plus", 2)))
    assert question(line, "en", (1, 2, 4)) == "f(1)=5, f(2)=8, f(4)=14. Write f(x)."
    assert question(line, "zh", (1, 2, 4)) == "f(1)=5，f(2)=8，f(4)=14。写f(x)。"
    turned = Function("list", (Step("reverse"),))
    assert question(turned, "en", ((3, 1), (5, 4, 9))) == "f([3,1])=[1,3], f([5,4,9])=[9,4,5]. Write f(s)."


def test_functions_that_do_the_same_have_one_key() -> None:
    key = key_of(Function("number", (Step("plus", 2), Step("times", 3))))
    assert key == key_of(Function("number", (Step("times", 3), Step("plus", 6))))
    assert key != key_of(Function("number", (Step("times", 3), Step("plus", 5))))
    sorted_twice = Function("list", (Step("reverse"), Step("sort")))
    assert key_of(sorted_twice) == key_of(Function("list", (Step("sort"),)))


def test_there_are_many_functions_in_both_splits() -> None:
    count: dict[str, int] = {"train": 0, "test": 0}
    for domain in FAMILIES:
        for key, function in everything(domain).items():
            count[split_of(key)] += not functions.trivial(function)
    assert min(count.values()) >= 1000
    assert sum(map(len, FAMILIES.values())) > 100 and all(set(SHOWN[d]) <= set(FAMILIES[d]) for d in SHOWN)


def test_every_problem_is_in_the_split_of_its_function() -> None:
    keys: dict[Split, set[str]] = {"train": set(), "test": set()}
    for _, split, problem in problems(40):
        key = key_of(function_of(problem))
        assert split_of(key) == split
        keys[split].add(key)
    assert min(map(len, keys.values())) > 60 and not keys["train"] & keys["test"]


def test_the_words_say_the_function_and_nothing_but_numbers_up_to_99() -> None:
    steps = {
        Step(name, p).words(language): Step(name, p)
        for name, operation in OPERATIONS.items()
        for p in (operation.parameters or (None,))
        for language in ("en", "zh")
    }
    described = 0
    for _, _, problem in problems(40):
        text, function = asked(problem), function_of(problem)
        assert all(int(n) <= 99 for n in re.findall(r"\d+", text)) and "-" not in text
        if head := HEADS.fullmatch(text):
            words = (head[2] or head[4]).replace("，再", ", then ").split(", then ")
            assert tuple(steps[word] for word in words) == function.steps
            described += 1
        else:
            assert [tuple(ast.literal_eval(part) for part in call) for call in SHOWN_CALL.findall(text)]
    assert described > 100


def test_examples_fit_one_function_alone() -> None:
    task = Functions(examples=1.0)
    for index in range(60):
        problem = task.problem("test", index)
        function = function_of(problem)
        shown = [tuple(map(ast.literal_eval, call)) for call in SHOWN_CALL.findall(asked(problem))]
        cases = [(tuple(x) if isinstance(x, list) else x, tuple(y) if isinstance(y, list) else y) for x, y in shown]
        fitting = [f for f in everything(function.domain).values() if all(value(f, x) == y for x, y in cases)]
        assert [key_of(f) for f in fitting] == [key_of(function)], asked(problem)
        if function.domain == "number":
            assert len(cases) == 3 and cases[1][0] == cases[0][0] + 1
        calls = {test["call"] for test in problem.hidden["tests"]}
        assert not calls & {f"f({x})" for x, _ in SHOWN_CALL.findall(asked(problem))}


def test_hidden_calls_tell_a_function_from_all_others() -> None:
    largest = []
    for _, _, problem in problems(10):
        function, tests = function_of(problem), problem.hidden["tests"]
        inputs = [ast.literal_eval(test["call"][2:-1]) for test in tests]
        arguments = [tuple(x) if isinstance(x, list) else x for x in inputs]
        expected = [tuple(t["expected"]) if isinstance(t["expected"], list) else t["expected"] for t in tests]
        assert len(tests) >= 6 and len(set(arguments)) == len(arguments)
        assert expected == [value(function, x) for x in arguments]
        same = [f for f in everything(function.domain).values() if [value(f, x) for x in arguments] == expected]
        assert [key_of(f) for f in same] == [key_of(function)]
        assert arguments != expected and len(set(expected)) > 1
        largest += [abs(y) for y in expected if isinstance(y, int)]
    assert sum(n < 1000 for n in largest) > 0.95 * len(largest)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(sorted(FAMILIES)))
def test_a_near_miss_is_another_function(seed: int, domain: str) -> None:
    function = functions.draw(random.Random(seed), {domain: FAMILIES[domain]})
    other = functions.near_miss(function)
    assert other.domain == domain and other.steps and key_of(other) != key_of(function)


@needs_sandbox
def test_the_grader_proves_itself() -> None:
    for task, _, problem in problems(5):
        gold = task.gold(problem)
        assert score(task, problem, gold) == 1.0, problem
        assert score(task, problem, f"\n```python\n{gold}\n```\n") == 1.0
        assert score(task, problem, " " + gold.replace(": return", ":\n    return")) == 1.0
        assert score(task, problem, task.wrong(problem)) == 0.0
        assert score(task, problem, None) == 0.0


@needs_sandbox
def test_programs_that_know_the_examples_alone_score_0() -> None:
    task = Functions(examples=1.0)
    for index in range(12):
        problem = task.problem("train", index)
        shown = SHOWN_CALL.findall(asked(problem))
        name = "x" if isinstance(ast.literal_eval(shown[0][0]), int) else "s"
        table = "{" + ", ".join(f"'{x}': {y}" for x, y in shown) + "}"
        key = f"str({name}).replace(' ', '')"
        for special in (
            "\n".join(f"print({y})" for _, y in shown),
            f"def f({name}): return {table}[{key}]",
            f"def f({name}): return {table}.get({key}, {shown[0][1]})",
            f"def f({name}): return {table}.get({key}, {name})",
            f"def f({name}): print({shown[0][1]})",
        ):
            assert score(task, problem, special) == 0.0, special


HOSTILE = [
    "", " ", "def f(x): return", "def f(x):\n    while True: pass", "import os; os._exit(0)", "\x00", "\ud800",
    "def f(x): return 'a' * 10**10", "def f(x): return f(x)", "raise SystemExit", "(" * 10_000, "x" * 100_000,
    "import os\nfor i in range(99): os.fork()\ndef f(x): return 0", "open('/tmp/x', 'w').write('y' * 10**9)",
    "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "f = lambda *a: type('I', (int,), {})(3)",
    "```python\ndef f(x): return x", "def f(x): return (i for i in [x])",
]  # fmt: skip


@needs_sandbox
def test_hostile_programs_score_0_without_harm() -> None:
    task = TASKS[0]
    problem = task.problem("test", 0)
    for answer in HOSTILE:
        assert score(task, problem, answer) == 0.0, answer[:60]
        task.vote_key(problem, answer)
    assert score(task, problem, task.gold(problem)) == 1.0


@needs_sandbox
@settings(max_examples=30)
@given(st.text(max_size=80))
def test_grading_and_voting_never_crash(answer: str) -> None:
    problem = TASKS[0].problem("test", 0)
    assert score(TASKS[0], problem, answer) == 0.0
    TASKS[0].vote_key(problem, answer)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_same_index_is_the_same_problem(task: Functions) -> None:
    assert [task.problem("train", i) for i in range(20)] == [task.problem("train", i) for i in range(20)]
    assert len({task.problem("train", i).messages for i in range(20)}) > 15
    assert task.problem("test", 3) == type(task)(task.examples, task.chinese, task.seed + 1).problem("test", 3)


def test_votes() -> None:
    task = TASKS[0]
    problem = task.problem("test", 0)
    same = ["def f(x): return x*3+2", "def f(x):\n    return (x * 3) + 2  # so"]
    same.append(f"```python\n{same[0]}\n```")
    assert len({task.vote_key(problem, answer) for answer in same}) == 1
    assert task.vote_key(problem, same[0]) != task.vote_key(problem, "def f(x): return x*3+1")
    for unreadable in ("", "def f(x) return x", "x" * 2000, "\ud800", "\x00", "-" * 900 + "1" * 90 + "(" * 9):
        assert task.vote_key(problem, unreadable) is None
