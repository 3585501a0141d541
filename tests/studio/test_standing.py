from __future__ import annotations

import pytest

from aha.studio.standing import Column, Standing, standing

ONE = {"pass@1": 0.50, "pass@1_stderr": 0.03, "asked": 100.0, "n": 4.0, "format": 0.9, "mean_length": 50.0}
TWO = {"pass@1": 0.55, "pass@1_stderr": 0.04, "asked": 100.0, "n": 4.0, "format": 1.0, "mean_length": 150.0}
BAD = {**ONE, "pass@1": 0.10}


def column(table: Standing | None, label: str) -> Column:
    assert table is not None
    return next(c for c in table.columns if c.label == label)


def test_the_best_of_a_column_and_what_is_near_it() -> None:
    table = standing({"base": {"countdown": BAD}, "zero": {"countdown": ONE}, "r1": {"countdown": TWO}})
    cells = column(table, "countdown").cells
    assert [cell.text for cell in cells] == ["10.0 ± 3.0", "50.0 ± 3.0", "55.0 ± 4.0"]
    assert [cell.best for cell in cells] == [False, False, True]
    assert [cell.near for cell in cells] == [False, True, False], "0.05 is less than two errors of 0.05 each way"
    assert [cell.share for cell in cells] == [0.1, 0.5, 0.55]
    assert [cell.best for cell in column(table, "tokens a response").cells] == [False] * 3, "no length is the better"
    assert table is not None and table.basis == "100 problems × 4 samples of each task"
    assert not [c for c in table.columns if c.label in ("mean of tasks", "in the question's language")]


def test_the_mean_of_tasks_counts_each_alike_and_needs_all() -> None:
    table = standing({"a": {"x": ONE, "y": BAD}, "b": {"x": TWO}})
    cells = column(table, "mean of tasks").cells
    assert [cell.text for cell in cells] == ["30.0 ± 2.1", "–"]  # 0.03 * sqrt(2) / 2
    assert column(table, "in the format").cells[1].text == "100.0"


def test_nothing_is_best_where_all_are_alike() -> None:
    cells = column(standing({"a": {"x": ONE}, "b": {"x": ONE}}), "x").cells
    assert not any(cell.best or cell.near for cell in cells)
    assert not column(standing({"a": {"x": ONE}}), "x").cells[0].best


@pytest.mark.parametrize("figures", [{}, {"pass@1": float("nan")}, {"asked": 3.0}])
def test_what_was_not_measured_is_a_dash(figures: dict[str, float]) -> None:
    table = standing({"a": {"x": figures}, "b": {"x": ONE}})
    assert column(table, "x").cells[0].text == "–"
    assert standing({"a": {}}) is None and standing({}) is None and standing({"a": {"x": figures}}) is None


def test_a_task_that_is_won_or_lost_has_no_part_in_the_mean() -> None:
    contest = {"win_rate": 0.6, "win_rate_stderr": 0.05, "asked": 10.0, "n": 1.0}
    table = standing({"a": {"x": ONE, "y": BAD, "arena": contest}, "b": {"x": TWO, "y": ONE, "arena": {**contest}}})
    assert column(table, "arena: won").cells[0].text == "60.0 ± 5.0"
    assert column(table, "mean of tasks").cells[0].text.startswith("30.0")
    assert table is not None and table.basis == "10 to 100 problems × 1 to 4 samples of each task"


def test_what_tasks_report_beside_and_names_of_files() -> None:
    marked = {**ONE, "mark/quality": 0.25}
    table = standing({"model:/m/qwen": {"gsm8k:/data/test.jsonl": marked, "own.py:Parity": ONE}})
    assert table is not None and table.models == ("qwen",)
    labels = [c.label for c in table.columns]
    assert labels[:4] == ["mean of tasks", "gsm8k", "Parity", "gsm8k: quality"]
    assert column(table, "gsm8k: quality").cells[0].text == "25.0"
