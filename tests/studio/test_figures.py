from __future__ import annotations

import pytest

from aha.studio.figures import DASH, basis, comparison, duration, listing, number


def test_shares_change_in_points_and_counts_as_a_ratio() -> None:
    rows = {
        row.metric: row
        for row in comparison(
            {"before": {"pass@1": 0.1, "mean_length": 50.0, "truncated": 0.1, "pass@16": 0.5, "reflection_words": 0.0},
             "after": {"pass@1": 0.4, "mean_length": 120.0, "truncated": 0.2, "pass@16": 0.5, "reflection_words": 1.0}}
        )
    }  # fmt: skip
    assert (rows["pass@1"].change, rows["pass@1"].direction) == ("+30.0 points", 1)
    assert (rows["mean length, tokens"].change, rows["mean length, tokens"].direction) == ("× 2.40", 0)
    assert (rows["cut off at the limit"].change, rows["cut off at the limit"].direction) == ("+10.0 points", -1)
    assert rows["pass@16"].direction == 0
    assert rows["reflection words a response"].change == "+1.00"


def test_a_change_within_its_error_claims_nothing() -> None:
    (row,) = comparison(
        {"before": {"pass@1": 0.40, "pass@1_stderr": 0.03}, "after": {"pass@1": 0.45, "pass@1_stderr": 0.03}}
    )
    assert row.before == "40.0 ± 3.0 %"
    assert (row.change, row.direction) == ("+5.0 points, within 2 std. errors", 0)


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    (row,) = comparison({"after": {"pass@1": 0.4}})
    assert (row.before, row.after, row.change) == (DASH, "40.0 %", DASH)
    assert comparison({}) == []


def test_tasks_that_were_evaluated_together_have_rows_that_claim_nothing() -> None:
    """Their errors are not known."""
    rows = comparison({"before": {"pass@1": 0.1, "pass@1/logic": 0.2}, "after": {"pass@1": 0.4, "pass@1/logic": 0.5}})
    assert [(row.metric, row.change, row.direction) for row in rows] == [
        ("pass@1", "+30.0 points", 1), ("pass@1 of logic", "+30.0 points", 0),
    ]  # fmt: skip


def test_all_figures_of_several_models() -> None:
    columns, rows = listing(
        {"base": {"pass@1": 0.25, "pass@1_stderr": 0.02, "k": 4.0, "pass@k": 0.5, "mark/quality": 0.5, "failed": 0.0},
         "{zero}": {"pass@1": 0.5, "pass@1/level 5": 0.1, "language": 1.0}}
    )  # fmt: skip
    assert columns == ["pass@1", "pass@4", "in the question's language", "quality", "pass@1 of level 5"]
    assert rows == [("base", ["25.0 ± 2.0 %", "50.0 %", DASH, "50.0 %", DASH]),
                    ("{zero}", ["50.0 %", DASH, "100.0 %", DASH, "10.0 %"])]  # fmt: skip


def test_the_basis_names_both_sides_where_they_differ() -> None:
    one = {"task": "countdown", "asked": 64.0, "n": 16.0}
    assert basis({"before": one, "after": one}) == "countdown, 64 problems × 16 samples"
    assert "after: countdown, 64 problems × 1 sample" in basis({"before": one, "after": {**one, "n": 1.0}})


@pytest.mark.parametrize(
    ("value", "shown"), [(None, DASH), (0.0, "0"), (17865.3, "17,865"), (1e-5, "1e-05"), (0.01234, "0.0123"),
                         (138.66, "138.7"), (float("nan"), "nan")]
)  # fmt: skip
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_durations() -> None:
    assert [duration(s) for s in (0, 141, 3723)] == ["0:00", "2:21", "1:02:03"]
