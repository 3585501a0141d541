"""Data sets as published: what a row becomes, how answers to it are graded, and which rows are refused or left out."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aha.errors import UserError
from aha.rewards.sandbox import available
from aha.tasks.checking import check
from aha.tasks.datasets import DataTask
from aha.tasks.table import make_task
from aha.types import Score

MATH500 = [
    {"problem": "Convert $(0,3)$.", "solution": r"... $\boxed{\left(3,\frac{\pi}{2}\right)}$",
     "answer": r"\left( 3, \frac{\pi}{2} \right)", "level": 2},
    {"problem": "In terms of $p$ and $q$?", "solution": r"\boxed{p-q}", "answer": "p - q", "level": 5},
    {"problem": "Whose slope is greatest?", "solution": r"\boxed{\text{Evelyn}}", "answer": r"\text{Evelyn}"},
    {"problem": "In base 8?", "solution": r"\boxed{52_8}", "answer": "52_8"},
    {"problem": "How many degrees?", "solution": r"\boxed{90^\circ}", "answer": r"90^\circ"},
    {"problem": "求 x。", "solution": r"\boxed{x=5}", "answer": "x=5"},
]  # fmt: skip
MGSM = {"de": "Wie viele Eier?\t18\nWie viel Geld?\t2,125\n", "zh": "几颗蛋？\t18\n多少钱？\t-3\n", "th": "กี่ฟอง\t18\n"}
BBH: dict[str, list[dict[str, str]]] = {
    "dates": [
        {"input": "What is the date?\nOptions:\n(A) 12/11/1937\n(B) 12/25/1937\n(C) 01/04/1938", "target": "(B)"},
        {"input": "Is it?\nOptions:\n- Yes\n- No", "target": "No"},
    ],
    "short": [
        {"input": "not ( True ) is", "target": "False"},
        {"input": "How many fruits do I have?", "target": "8"},
        {"input": "Sort: List: syndrome oven therefrom", "target": "oven syndrome therefrom"},
        {"input": "Close the brackets: < [", "target": "] >"},
    ],
}
IFEVAL = [
    {"key": 1, "prompt": "No commas, please.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    {"key": 2, "prompt": "Say it in 3 words at least, without 'no'.",
     "instruction_id_list": ["length_constraints:number_words", "keywords:forbidden_words"],
     "kwargs": [{"relation": "at least", "num_words": 3, "keywords": None}, {"forbidden_words": ["no"]}]},
]  # fmt: skip
HUMANEVAL = [
    {"task_id": "T/0", "prompt": 'def add(a, b):\n    """ Sum.\n    >>> add(1, 2)\n    3\n    """\n',
     "entry_point": "add",
     "canonical_solution": "    return a + b\n",
     "test": "M = {}\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n"},
    {"task_id": "T/1", "prompt": 'def half(x: float) -> float:\n    """ Half."""\n',
     "entry_point": "half",
     "canonical_solution": "    return x / 2\n",
     "test": "def check(candidate):\n    assert abs(candidate(1.0) - 0.5) < 1e-6\n    assert not candidate(0.0)\n"},
    {"task_id": "T/2", "prompt": 'import math\n\n\ndef up(x):\n    """ The next whole number."""\n',
     "entry_point": "up",
     "canonical_solution": "    return math.ceil(x)\n",
     "test": "def check(candidate):\n    assert candidate(0.5) == 1\n"},
    {"task_id": "T/3", "prompt": 'def any_root(x):\n    """ A root."""\n', "entry_point": "any_root",
     "canonical_solution": "    return x ** 0.5\n",
     "test": "def check(candidate):\n    for x in range(9):\n        assert abs(candidate(x) ** 2 - x) < 1e-9\n"},
]  # fmt: skip
needs_sandbox = pytest.mark.skipif(available() is not None, reason=str(available()))


def jsonl(path: Path, rows: list[Any]) -> str:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def made(spec: str) -> DataTask:
    task = make_task(spec)
    assert isinstance(task, DataTask)
    return task


def value(task: DataTask, index: int, answer: str | None) -> float:
    outcome = task.grade(task.problem("test", index), answer)
    assert isinstance(outcome, Score), outcome
    return outcome.value


def test_math500(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "math500.jsonl", MATH500)
    assert check(f"math500:{path}")["faults"] == [] and check(path)["task"] == "math"
    task = made(f"math500:{path}")
    assert (task.size("train"), task.size("test")) == (0, 6)
    assert [task.problem("test", i).language for i in (0, 5)] == ["en", "zh"]
    assert value(task, 0, r"(3, \pi/2)") == 1 and value(task, 0, r"(3, \pi/3)") == 0 and value(task, 0, None) == 0
    assert value(task, 1, "-q+p") == 1 and value(task, 1, "q - p") == 0
    assert value(task, 3, "52_9") == 0
    problem = task.problem("test", 0)
    point = (r"\left(3, \dfrac{\pi}{2}\right)", r"(3,\frac{\pi}{2})")
    for same in (point, ("3/4", "0.75", r"x=\frac34"), ("90", "90 cm")):
        assert len({task.vote_key(problem, answer) for answer in same}) == 1
    assert len({task.vote_key(problem, answer) for answer in ("2", "3", "2x", "2y", "p-q")}) == 5
    assert task.vote_key(problem, "") is None and task.vote_key(problem, "9" * 10_000) is None
    with pytest.raises(UserError, match="'math500' is a test set"):
        task.problem("train", 0)


def test_maths_of_ones_own(tmp_path: Path) -> None:
    rows: list[Any] = [{"question": f"What is {i}/7?", "answer": rf"\frac{{{i}}}{{7}}"} for i in range(60)]
    rows += [{"problem": "Box?", "solution": r"first \boxed{1}, so \boxed{2}"}, {"prompt": "Plain?", "answer": 4.5}]
    task = made(f"math:{jsonl(tmp_path / 'own.jsonl', rows)}")
    assert {r.key for r in task.train}.isdisjoint(r.key for r in task.test) and task.train and task.test
    golds = {row.question: row.reference for row in (*task.train, *task.test)}
    assert golds["Box?"] == "2" and golds["Plain?"] == "4.5" and len(golds) == 62
    assert check(f"math:{tmp_path / 'own.jsonl'}")["faults"] == []


def test_mgsm(tmp_path: Path) -> None:
    for language, rows in MGSM.items():
        (tmp_path / f"mgsm_{language}.tsv").write_text(rows, encoding="utf-8")
    again = {"dataset": "mgsm-zh", "messages": [{"role": "user", "content": "几颗蛋？"}], "answer": "18"}
    jsonl(tmp_path / "mgsm_zh_deepseek.jsonl", [again])
    report = check(f"mgsm:{tmp_path}")
    assert (report["checked"], report["faults"], report["duplicates"]) == (5, [], 1)
    task = made(f"mgsm:{tmp_path}")
    assert [task.problem("test", i).language for i in range(5)] == ["de", "de", "th", "zh", "zh"]
    assert value(task, 1, "2125 Euro") == 1 and value(task, 4, "−3") == 1 and value(task, 4, "3") == 0
    alone = made(f"mgsm:{tmp_path / 'mgsm_zh_deepseek.jsonl'}")
    assert alone.problem("test", 0).language == "zh" and alone.problem("test", 0).messages[0].content == "几颗蛋？"


def test_bbh(tmp_path: Path) -> None:
    for name, examples in BBH.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"canary": "...", "examples": examples}), encoding="utf-8")
    report = check(f"bbh:{tmp_path}")
    assert (report["checked"], report["faults"]) == (6, [])
    task = made(f"bbh:{tmp_path}")
    for answer, score in (("(B)", 1), ("B", 1), ("12/25/1937", 1), ("(A)", 0), ("(A) or (B)", 0), ("", 0)):
        assert value(task, 0, answer) == score, answer
    for index, answer, score in (
        (1, "no", 1), (1, "**No.**", 1), (1, "Yes", 0), (2, "false", 1), (3, "8 fruits", 1), (3, "9", 0),
        (4, "oven, syndrome, therefrom", 1), (4, "syndrome oven therefrom", 0), (5, "] >", 1), (5, "]", 0),
    ):  # fmt: skip
        assert value(task, index, answer) == score, answer
    assert task.vote_key(task.problem("test", 0), "(B)") == task.vote_key(task.problem("test", 0), "B")


def test_ifeval(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "ifeval.jsonl", IFEVAL)
    report = check(path)
    assert (report["task"], report["checked"], report["without_gold"], report["faults"]) == ("ifeval", 2, 2, [])
    task = made(f"ifeval:{path}")
    assert value(task, 0, "As you wish") == 1 and value(task, 0, "Well, as you wish") == 0
    assert value(task, 1, "three words here") == 1 and value(task, 1, "two words") == 0
    assert value(task, 1, "there is no way") == 0 and not task.has_gold(task.problem("test", 0))


@needs_sandbox
@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_humaneval(tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path / name, HUMANEVAL)
    report = check(path)
    assert (report["task"], report["checked"], report["faults"]) == ("humaneval", 4, [])  # the last by its asserts


@needs_sandbox
def test_asserts_that_make_no_calls_run_beside_the_code(tmp_path: Path) -> None:
    task = made(f"humaneval:{jsonl(tmp_path / 'h.jsonl', HUMANEVAL)}")
    assert value(task, 3, "    return x ** 0.5") == 1
    assert value(task, 3, "```python\ndef any_root(x):\n    return x\n```") == 0
    for wrong in ("", "import sys\nsys.exit(0)", "def any_root(x):\n    return 1 / 0", "print('done')"):
        assert value(task, 3, wrong) == 0, wrong


@needs_sandbox
def test_forms_of_an_answer_in_code(tmp_path: Path) -> None:
    task = made(f"humaneval:{jsonl(tmp_path / 'h.jsonl', HUMANEVAL)}")
    assert value(task, 2, "    return math.ceil(x)") == 1  # what follows the prompt
    assert value(task, 2, "def up(x):\n    return math.ceil(x)") == 1  # with the prompt's imports
    assert value(task, 2, "Here:\n```python\nimport math\ndef up(x):\n    return math.ceil(x)\n```\nDone.") == 1
    assert value(task, 2, "from __future__ import annotations\nimport math\ndef up(x):\n    return math.ceil(x)") == 1
    for wrong in ("", "def up(x):\n    return x", "def up(:", "    return 2", "exit(0)"):
        assert value(task, 2, wrong) == 0, wrong


@pytest.mark.parametrize(
    ("task", "row", "reason"),
    [
        ("math", {"question": "Q?"}, "has no text under 'answer'"),
        ("math", {"answer": "3"}, "has no text under 'question'"),
        ("math", {"question": "Q?", "solution": r"\boxed{3"}, "without a finished"),
        ("math", {"question": "Q?", "answer": ["3"]}, "has no text under 'answer'"),
        ("math500", "text", "is no JSON object"),
        ("mgsm", {"question": "Q?", "answer": "many"}, "which is no number"),
        ("mgsm", {"messages": [3], "answer": "3"}, "is no JSON object"),
        ("bbh", {"input": "Q?\nOptions:\n(A) 1\n(B) 2", "target": "(C)"}, "none of its options (A, B)"),
        ("bbh", {"input": "", "target": "(C)"}, "has no text under 'input'"),
        ("ifeval", {"prompt": "P", "instruction_id_list": ["no:such"], "kwargs": [{}]}, "no:such"),
        ("ifeval", {"prompt": "P", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "of one length"),
        ("ifeval", {"prompt": "P", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [3]}, "no object"),
        ("humaneval", {**HUMANEVAL[0], "entry_point": "a b"}, "no name of a function"),
        ("humaneval", {**HUMANEVAL[0], "test": None}, "has no text under 'test'"),
        ("humaneval", {**HUMANEVAL[0], "test": "def check("}, "test"),
        ("humaneval", {**HUMANEVAL[0], "test": "def check(candidate):\n    pass"}, "no asserts"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, task: str, row: Any, reason: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", [row])
    with pytest.raises(UserError) as error:
        make_task(f"{task}:{path}")
    assert f"{path} row 1 " in str(error.value) and reason in str(error.value) and ";" in str(error.value)
    report = check(f"{task}:{path}")
    assert report["checked"] == 0 and [fault["row"] for fault in report["faults"]] == [1]


def test_a_test_set_from_a_hub_is_its_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    splits = {
        "train": [{"question": "Question: Q0?", "answer_number": 1}],
        "test": [{"question": "Q1?", "answer": None, "answer_number": 7}],
    }

    def load_dataset(name: str, config: str | None) -> Any:
        asked.append((name, config))
        return splits

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    task = make_task("mgsm:juletxara/mgsm", options={"config": "sw"})
    assert asked == [("juletxara/mgsm", "sw")] and task.size("test") == 1
    assert (task.problem("test", 0).language, task.problem("test", 0).reference) == ("sw", "7")
    splits = {"train": [{"problem": "Q?", "answer": "3"}]}
    assert make_task("math500:HuggingFaceH4/MATH-500").size("test") == 1 and asked[-1][1] is None
