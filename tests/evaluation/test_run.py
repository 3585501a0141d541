"""A suite from questions to figures: what is stored, what goes on after a break, what is tried again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from evaluations import SAMPLING, Answering, evaluated

from aha.errors import UserError
from aha.evaluation.judging import ARENA_HARD
from aha.evaluation.run import questions, settings_of
from aha.evaluation.suites import Suite
from aha.types import Ask, Failed, Problem, Reply, Sampling

ROWS = [{"question": f"What is {i} + {i}?", "answer": f"... #### {2 * i}"} for i in range(1, 7)]


@pytest.fixture
def sums(tmp_path: Path) -> Suite:
    """Six questions of GSM8K, three samples of each, two of them right."""
    folder = tmp_path / "sums"
    folder.mkdir()
    for split in ("train", "test"):
        lines = "".join(json.dumps({**row, "question": f"{split}: {row['question']}"}) + "\n" for row in ROWS)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return Suite("sums", {"gsm8k": str(folder)}, 3, "Box it.", SAMPLING)


def right_but_once(problem: Problem, sample: int) -> str:
    """The last sample of each problem is wrong."""
    wrong = int(sample == 2)
    return f"<think>I add.</think>It is \\boxed{{{int(problem.reference) + wrong}}}."


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "samples.parquet").to_pylist()
    return found


def test_from_questions_to_figures(sums: Suite, tmp_path: Path) -> None:
    folder, results = evaluated(sums, Answering(right_but_once), tmp_path / "out")
    figures = results["tasks"]["gsm8k"]
    assert (figures["asked"], figures["n"], figures["cons@k"], figures["pass@k"]) == (6, 3, 1, 1)
    assert figures["pass@1"] == pytest.approx(2 / 3) and figures["pass@1_stderr"] == 0
    assert (figures["mean_length"], figures["mean_thinking"], figures["format_r1"]) == (4, 1, 1)
    assert results["finished"] and json.loads((folder / "results.json").read_text()) == results
    assert "pass@1 (6 problems x 3) | 66.7 ± 0.0 %" in (folder / "table.md").read_text()
    rows = rows_of(folder)
    assert [(row["problem"], row["sample"]) for row in rows] == [
        (f"gsm8k-test-{i}", s) for i in range(6) for s in range(3)
    ]
    assert rows[0]["question"] == "test: What is 1 + 1?\nBox it." and rows[0]["reference"] == "2"
    assert (rows[2]["answer"], rows[2]["value"], rows[2]["outcome"], rows[2]["vote"]) == ("3", 0.0, "score", "3")
    assert rows[0]["text"] == "<think>I add.</think>It is \\boxed{2}." and rows[0]["stop_reason"] == "stop"
    assert not (folder / "samples.jsonl").exists()


@pytest.mark.parametrize("broken", [0, 1, 5, 6, 7, 17])
def test_a_broken_one_goes_on_sample_by_sample_and_ends_alike(sums: Suite, tmp_path: Path, broken: int) -> None:
    whole, results = evaluated(sums, Answering(right_but_once), tmp_path / "whole")
    first = Answering(right_but_once, breaks_after=broken)
    with pytest.raises(KeyboardInterrupt):
        evaluated(sums, first, tmp_path / "broken")
    journal = tmp_path / "broken" / whole.name / "samples.jsonl"
    if journal.exists():  # something was graded
        journal.write_bytes(journal.read_bytes() + b'{"task": "gsm8k", "prob')  # the process died in a line
    second = Answering(right_but_once)
    folder, again = evaluated(sums, second, tmp_path / "broken")
    assert again == results and len(first.asked) == broken
    assert len(second.asked) < 18 - broken + 6 and not set(first.asked) & set(second.asked) - set(first.asked[-6:])
    for name in ("results.json", "table.md", "settings.json", "samples.parquet"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_finished_one_asks_nobody(sums: Suite, tmp_path: Path) -> None:
    _, results = evaluated(sums, Answering(right_but_once), tmp_path)
    assert evaluated(sums, Answering(right_but_once, breaks_after=0), tmp_path)[1] == results


def test_what_has_no_response_is_counted_and_asked_again(sums: Suite, tmp_path: Path) -> None:
    def half(problem: Problem, sample: int) -> str | None:
        return None if sample == 1 else right_but_once(problem, sample)

    folder, results = evaluated(sums, Answering(half), tmp_path)
    assert not results["finished"] and (results["unanswered"], results["failed"]) == (6, 0)
    assert results["why"] == ["nobody is there"] and results["tasks"]["gsm8k"]["unanswered"] == pytest.approx(1 / 3)
    assert results["tasks"]["gsm8k"]["pass@1"] == pytest.approx(1 / 3)  # of what was asked
    assert sum(row["outcome"] == "unanswered" for row in rows_of(folder)) == 6 and len(rows_of(folder)) == 18
    again = Answering(right_but_once)
    _, results = evaluated(sums, again, tmp_path)
    assert sorted(again.asked) == [(f"gsm8k-test-{i}", 1) for i in range(6)]
    assert results["finished"] and results["tasks"]["gsm8k"]["pass@1"] == pytest.approx(2 / 3)


def test_what_could_not_be_graded_is_counted_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tmp_path / "moody.py"
    task.write_text(
        "from aha.types import Message, Problem, Score\n"
        "class Moody:\n"
        "    name, broken = 'moody', True\n"
        "    def size(self, split): return 2\n"
        "    def problem(self, split, index): return Problem(f'm-{index}', 'moody', (Message('user', '?'),), 'x')\n"
        "    def grade(self, problem, answer):\n"
        "        if Moody.broken and problem.id == 'm-1': raise OSError('no verifier')\n"
        "        return Score(1.0)\n"
        "    def gold(self, problem): return 'x'\n"
        "    def wrong(self, problem): return 'y'\n"
        "    def vote_key(self, problem, answer): return answer\n"
    )
    suite = Suite("moody", {f"{task}:Moody": ""}, 2, sampling=SAMPLING)
    _, results = evaluated(suite, Answering(lambda problem, sample: "<answer>x</answer>"), tmp_path / "out")
    (figures,) = results["tasks"].values()
    assert (figures["failed"], figures["pass@1"], results["failed"]) == (0.5, 0.5, 2)
    assert "no verifier" in results["why"][0] and not results["finished"]
    from aha.plugins import load_object

    monkeypatch.setattr(load_object(f"{task}:Moody"), "broken", False)
    again = Answering(lambda problem, sample: "<answer>x</answer>")
    _, results = evaluated(suite, again, tmp_path / "out")
    assert sorted(again.asked) == [("m-1", 0), ("m-1", 1)] and results["finished"]


def test_answers_in_the_thinking_count_only_where_the_whole_is_judged(sums: Suite, tmp_path: Path) -> None:
    from dataclasses import replace

    def thinks(problem: Problem, sample: int) -> str:
        return f"<think>\\boxed{{{problem.reference}}}</think>Done."

    for whole, score in ((False, 0.0), (True, 1.0)):
        _, results = evaluated(replace(sums, whole=whole), Answering(thinks), tmp_path / str(whole))
        assert results["tasks"]["gsm8k"]["pass@1"] == score
        assert results["settings"]["judged on"] == ("whole response" if whole else "summary")


def test_settings_have_folders_of_their_own(sums: Suite, tmp_path: Path) -> None:
    from dataclasses import replace

    first, _ = evaluated(sums, Answering(right_but_once), tmp_path)
    others = {
        evaluated(changed, Answering(right_but_once), tmp_path, seed=seed, k=k)[0]
        for changed, seed, k in (
            (sums, 1, 0), (sums, 0, 2), (replace(sums, samples=2), 0, 0), (replace(sums, instruction=""), 0, 0),
            (replace(sums, problems=5), 0, 0),
        )
    }  # fmt: skip
    assert len(others | {first}) == 6


def test_a_judge_sees_summaries_alone(tmp_path: Path) -> None:
    rows = [{"prompt": f"Name fruit {i}.", "output": "BASE"} for i in range(3)]
    (tmp_path / "arena.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    suite = Suite("arena-hard", {"arena-hard": str(tmp_path / "arena.jsonl")}, 1, sampling=SAMPLING, match=ARENA_HARD)
    seen: list[str] = []

    def judge(asks: Sequence[Ask], sampling: Sampling) -> list[Reply | Failed]:
        seen.extend(ask.messages[-1].content for ask in asks)
        return [
            Reply('{"why": "", "verdict": "' + ("A>B" if "<first_response>\nOWN" in seen_one else "B>A") + '"}')
            for seen_one in (ask.messages[-1].content for ask in asks)
        ]

    def says(problem: Problem, sample: int) -> str | None:
        return {0: "<think>SECRET</think>OWN", 1: "<think>SECRET", 2: None}[int(problem.id[-1])]

    folder, results = evaluated(suite, Answering(says, together=3), tmp_path / "out", judge=judge)
    figures = results["tasks"]["arena-hard"]
    assert figures["win_rate"] == pytest.approx(2 / 5) and figures["unanswered"] == pytest.approx(1 / 3)
    assert (figures["wins"], figures["losses"]) == (2, 2) and len(seen) == 2
    assert not any("SECRET" in prompt for prompt in seen)
    assert rows_of(folder)[0]["marks"] == [
        ("games", 2), ("won", 2), ("wins", 2), ("ties", 0), ("losses", 0), ("characters", 3),
        ("baseline_characters", 4),
    ]  # fmt: skip
    assert "win rate (3 problems x 1) | 40.0" in (folder / "table.md").read_text()


def test_what_cannot_be_asked(sums: Suite) -> None:
    asked = questions(sums, 0)
    with pytest.raises(UserError, match="k = 4 needs as many samples, and 3"):
        settings_of(sums, asked, {}, None, k=4, seed=0)
    with pytest.raises(UserError, match="has no judge"):
        settings_of(sums, asked, {}, {}, k=3, seed=0)
    with pytest.raises(UserError, match="name one with --judge"):
        settings_of(Suite("a", sums.tasks, 1, match=ARENA_HARD), asked, {}, None, k=1, seed=0)
    with pytest.raises(UserError, match="makes problems without end; say how many"):
        questions(Suite("endless", {"countdown": ""}, 1), 0)
