"""Every suite on a few rows in the published form: right answers score 1, wrong ones 0, under the paper's protocol."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluations import Answering, evaluated

from aha.errors import UserError
from aha.evaluation.judging import ALPACA, ARENA_HARD
from aha.evaluation.run import questions
from aha.evaluation.suites import BOXED, PAPER, SUITES, Suite, find_suite, suite_of_task
from aha.rewards.sandbox import available
from aha.tasks.table import EMBEDDED, make_task
from aha.types import Ask, Failed, Problem, Reply, Sampling

CELLS = (["Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"],
         ["Which?", "red", "green", "blue", "grey"])  # fmt: skip
CODE = {
    "task_id": "T/0", "prompt": 'def add(a, b):\n    """ Sum."""\n', "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0.5, 1) == 1.5\n",
}  # fmt: skip
MBPP = {
    "task_id": 14, "text": "Write a function to find the volume of a prism.",
    "code": "def vol(l,b,h):\r\n  return l*b*h/2", "test_setup_code": "", "challenge_test_list": [],
    "test_list": ["assert vol(10,8,6) == 240", "assert vol(1,2,1) == 1"],
}  # fmt: skip
ADD, VOL = "```python\ndef add(a, b):\n    return a + b\n```", "```python\ndef vol(l, b, h):\n    return l*b*h/2\n```"
LCB = {"question_content": "Double N.", "starter_code": "", "contest_date": "2024-12-01T00:00:00", "difficulty": "easy",
       "public_test_cases": json.dumps([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]),
       "private_test_cases": "", "metadata": "{}"}  # fmt: skip
IFEVAL = {"key": 1, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
EXAM = {"question": "2+2?", "choices": ["3", "4", "5", "6"], "answer": 1, "subject": "sums"}
BBH = {"input": "Which?\nOptions:\n(A) one\n(B) two", "target": "(B)"}

# What stands in the file, the right response, the wrong one.
FILES: dict[str, tuple[str, Any, str, str]] = {
    "aime24": ("aime.jsonl", [{"problem": "Find it.", "answer": "033"}], r"\boxed{33}", r"\boxed{34}"),
    "aime25": ("aime.jsonl", [{"problem": "Find it.", "answer": "7"}], r"\boxed{007}", "7"),
    "math500": ("m.jsonl", [{"problem": "Half?", "answer": r"\frac{1}{2}", "level": 3}], r"\boxed{0.5}", r"\boxed{2}"),
    "gsm8k": ("test.jsonl", [{"question": "How much?", "answer": "x #### 1,800"}], r"\boxed{\$1800}", r"\boxed{180}"),
    "mgsm": ("mgsm_de.tsv", "Wie viele?\t18\n", r"\boxed{18}", r"\boxed{19}"),
    "gpqa": ("gpqa_diamond.csv", CELLS, "Answer: red", "Answer: green"),
    "mmlu": ("mmlu.jsonl", [EXAM], "**Answer: B**", "Answer: A"),
    "mmlu-pro": ("pro.jsonl", [{**EXAM, "options": EXAM["choices"], "answer": "B"}], r"\boxed{B}", r"\boxed{A} or B"),
    "ceval": ("logic_val.csv", (["id", "question", "A", "B", "C", "D", "answer"], [0, "哪？", "1", "2", "3", "4", "D"]),
              "答案：D", "答案：C"),
    "bbh": ("logic.json", {"examples": [BBH]}, r"\boxed{\text{(B)}}", r"\boxed{A}"),
    "ifeval": ("input_data.jsonl", [IFEVAL], "None here", "One, here"),
    "humaneval": ("HumanEval.jsonl", [CODE], ADD, "```python\nx = 1\n```"),
    "mbpp": ("mbpp.jsonl", [MBPP, {**MBPP, "task_id": 601}], VOL, "no"),
    "livecodebench": ("test6.jsonl", [LCB], "```python\nprint(2 * int(input()))\n```", "```python\nprint(5)\n```"),
}  # fmt: skip
PROGRAMS = ("humaneval", "mbpp", "livecodebench")


def write(path: Path, content: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        if isinstance(content, str):
            file.write(content)
        elif isinstance(content, tuple):
            csv.writer(file).writerows(content)
        elif isinstance(content, dict):
            json.dump(content, file)
        else:
            file.write("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.mark.parametrize("name", FILES)
def test_right_and_wrong_responses(name: str, tmp_path: Path) -> None:
    if name in PROGRAMS and (missing := available()) is not None:
        pytest.skip(missing)
    file, content, right, wrong = FILES[name]
    suite = replace(find_suite(name, str(write(tmp_path / file, content))), samples=2)
    if name == "gsm8k":  # one file is split by its questions, a folder keeps its splits
        write(tmp_path / "train.jsonl", [{"question": "Other?", "answer": "#### 1"}])
        suite = replace(suite, tasks={"gsm8k": str(tmp_path)})

    def say(problem: Problem, sample: int) -> str:
        return f"<think>{wrong}</think>\n{right}" if sample == 0 else f"<think>{right}</think>\n{wrong}"

    _, results = evaluated(suite, Answering(say), tmp_path / "out")
    (figures,) = results["tasks"].values()
    assert (figures["asked"], figures["pass@1"], figures["pass@k"], figures["failed"]) == (1, 0.5, 1.0, 0.0)


def test_the_papers_protocol() -> None:
    samples = {name: suite.samples for name, suite in SUITES.items()}
    assert [samples[name] for name in ("aime24", "aime25", "gpqa", "math500", "livecodebench")] == [64, 64, 64, 16, 8]
    for name, suite in SUITES.items():
        if name != "tiny":
            assert suite.sampling == PAPER == Sampling(32_768, 0.6, 0, 0.95), name
            assert not suite.whole and all(suite.tasks.values())
    assert all(SUITES[name].instruction == BOXED for name in ("aime24", "aime25", "math500", "gsm8k", "mgsm"))
    assert set(FILES) | {"tiny", "alpaca-eval", "arena-hard"} == set(SUITES)
    assert SUITES["livecodebench"].options == {"since": "2024-08-01", "until": "2025-02-01"}


def test_the_documentation_has_every_suite() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells for line in text.splitlines() if len(cells := line.split("|")) == 8}
    for name, suite in SUITES.items():
        assert rows[name][3].strip() == str(suite.samples), name
        sources = {
            source.removeprefix("hf://datasets/") for source in ",".join(suite.tasks.values()).split(",") if source
        }
        assert all("/".join(source.split("/")[:2]) in rows[name][5] for source in sources), name
        assert rows[name][4].strip().startswith({BOXED: "box", "": "none"}.get(suite.instruction, "letter")), name


def test_no_system_prompt_and_the_instruction_under_the_question(tmp_path: Path) -> None:
    file, content, *_ = FILES["aime24"]
    asked = questions(find_suite("aime24", str(write(tmp_path / file, content))), 0)["aime"]
    (message,) = asked.problems[0].messages
    assert (message.role, message.content) == ("user", f"Find it.\n{BOXED}")
    file, content, *_ = FILES["ifeval"]
    (problem,) = questions(find_suite("ifeval", str(write(tmp_path / file, content))), 0)["ifeval"].problems
    assert problem.messages[0].content == "No commas."


def test_the_tiny_suite_is_every_embedded_task(tmp_path: Path) -> None:
    suite = replace(find_suite("tiny"), problems=3, samples=1)
    tasks = {name: make_task(name) for name in EMBEDDED}

    def gold(problem: Problem, sample: int) -> str:
        return f"<think>so</think><answer>{tasks[problem.task].gold(problem)}</answer>"

    _, results = evaluated(suite, Answering(gold), tmp_path)
    assert set(results["tasks"]) == set(EMBEDDED)
    assert all(figures["pass@1"] == 1 and figures["format"] == 1 for figures in results["tasks"].values())


@pytest.mark.parametrize(("name", "match"), [("alpaca-eval", ALPACA), ("arena-hard", ARENA_HARD)])
def test_pairwise_suites(name: str, match: Any, tmp_path: Path) -> None:
    rows = [{"instruction": f"{i}?", "prompt": f"{i}?", "output": "base", "generator": "b"} for i in range(4)]
    suite = find_suite(name, str(write(tmp_path / "rows.jsonl", rows)))
    assert suite.match == match

    def tie(asks: Sequence[Ask], sampling: Sampling) -> list[Reply | Failed]:
        return [Reply('{"why": "alike", "verdict": "A=B"}') for _ in asks]

    _, results = evaluated(suite, Answering(lambda problem, sample: "<think>a</think>own"), tmp_path, judge=tie)
    figures = results["tasks"][name]
    assert (figures["win_rate"], figures["ties"], figures["win_rate_stderr"]) == (0.5, 4 * match.games, 0)


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from aha.evaluation.suites import Suite\nmine = Suite('mine', {'countdown': ''}, 2, problems=3)\nother = 5\n"
    )
    assert find_suite(f"{file}:mine").tasks == {"countdown": ""}
    with pytest.raises(UserError, match="is no Suite"):
        find_suite(f"{file}:other")


def test_one_task_as_a_suite() -> None:
    suite = suite_of_task("math500:a/b.jsonl")
    assert suite.tasks == {"math500": "a/b.jsonl"} and suite.whole and not suite.instruction
    assert (suite.samples, suite.problems, suite.sampling.max_tokens) == (16, 100, 320)
    assert suite_of_task("countdown").tasks == {"countdown": ""}
    assert suite_of_task("mine.py:Task").tasks == {"mine.py:Task": ""}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_suite("aime2024"), "unknown suite 'aime2024'; did you mean 'aime24'"),
        (lambda: find_suite("tiny", "x.jsonl"), "'tiny' reads no data"),
        (lambda: questions(find_suite("aime24", "/no/such.jsonl"), 0), "no file '/no/such.jsonl'"),
    ],
)
def test_what_cannot_be_found(call: Callable[[], Suite], message: str) -> None:
    with pytest.raises(UserError) as error:
        call()
    assert message in str(error.value)
