"""Several results: differences problem by problem, tables, results of other problems."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from evaluations import SAMPLING, Answering, evaluated

from aha.errors import UserError
from aha.evaluation.compare import differences, load_result
from aha.evaluation.suites import Suite
from aha.evaluation.tables import differences_table, table_of
from aha.types import Problem


def suite_of(folder: Path, count: int = 4, ask: str = "What is") -> Suite:
    rows = [{"problem": f"{ask} {i}?", "answer": str(i)} for i in range(1, count + 1)]
    (folder / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Suite("sums", {"aime": str(folder / "aime.jsonl")}, 4, sampling=SAMPLING)


def solving(*right: int) -> Answering:
    """So many of the four samples of each problem are right."""

    def say(problem: Problem, sample: int) -> str:
        return f"\\boxed{{{problem.reference if sample < right[int(problem.reference) - 1] else 0}}}"

    return Answering(say)


def test_differences_are_paired(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    a, _ = evaluated(suite, solving(4, 2, 1, 0), tmp_path / "a")
    b, _ = evaluated(suite, solving(4, 3, 3, 1), tmp_path / "b")
    results = [load_result(a), load_result(b)]
    assert results[0].shares["aime"]["aime-test-1"] == [2.0, 4.0]
    (row,) = differences(results)
    gains = [0.0, 0.25, 0.5, 0.25]
    assert row["difference"] == pytest.approx(0.25) and row["problems"] == 4
    assert row["stderr"] == pytest.approx(statistics.stdev(gains) / 2)
    assert row["p"] == pytest.approx(0.0917, abs=1e-4)  # t = 2.4495 with 3 degrees of freedom
    assert differences(list(reversed(results)))[0]["difference"] == -row["difference"]
    table = table_of([one.results for one in results])
    assert "43.8 ± 21.3 % | 68.8 ± 15.7 %" in table
    assert "| aime: rule − rule | +25.0 ± 10.2 | 4 | 0.0917 |" in differences_table([row])
    same = differences([results[0], results[0]])[0]
    assert (same["difference"], same["stderr"], same["p"]) == (0, 0, 1)


def test_one_problem_has_no_error(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, 1)
    paths = [evaluated(suite, solving(n), tmp_path / str(n))[0] for n in (1, 3)]
    (row,) = differences([load_result(path) for path in paths])
    assert (row["difference"], row["stderr"], row["p"]) == (0.5, None, None)
    assert "+50.0 | 1 |" in differences_table([row]) and not math.isnan(row["difference"])


def test_other_problems_are_not_compared(tmp_path: Path) -> None:
    a, _ = evaluated(suite_of(tmp_path), solving(1, 1, 1, 1), tmp_path / "a")
    b, _ = evaluated(suite_of(tmp_path, ask="How much is"), solving(1, 1, 1, 1), tmp_path / "b")
    with pytest.raises(UserError, match="asked other problems of 'aime'"):
        differences([load_result(a), load_result(b)])
    other = replace(suite_of(tmp_path), tasks={"math500": str(tmp_path / "aime.jsonl")})
    c, _ = evaluated(other, solving(1, 1, 1, 1), tmp_path / "c")
    with pytest.raises(UserError, match="no task in common"):
        differences([load_result(a), load_result(c)])


@pytest.mark.parametrize("content", [None, "{}", "no json", "[]"])
def test_folders_that_hold_no_result(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match="holds no evaluation that has ended"):
        load_result(tmp_path)
