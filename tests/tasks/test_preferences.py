"""Preference data: a judge whose faults four judgements cancel, lengths that say nothing, labels that are true."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.models.templates import parse
from aha.tasks.preferences import APART, Labelled, Preference, judge, labelled, pairs, verdict
from aha.tasks.requests import quality, refuses, request_of, safe, views
from aha.types import Problem, Split

SPLITS: tuple[Split, ...] = ("train", "test")
PAIRS: dict[Split, list[Preference]] = {split: pairs(600, 0, split) for split in SPLITS}
LABELLED: dict[Split, list[Labelled]] = {split: labelled(400, 0, split) for split in SPLITS}


def test_the_judge_agrees_with_the_truth() -> None:
    for split in SPLITS:
        right = [quality(p.problem, p.chosen) > quality(p.problem, p.rejected) for p in PAIRS[split]]
        assert fmean(right) > 0.99


def test_one_judgement_favours_the_first_and_four_do_not() -> None:
    rng = random.Random(0)
    assert fmean(judge(rng, 0.5, 0.5) for _ in range(2000)) > 0.2
    assert abs(fmean(verdict(rng, 0.5, 0.5) for _ in range(2000))) < 0.05
    assert fmean(judge(rng, 0.3, 0.7) for _ in range(500)) > -fmean(judge(rng, 0.7, 0.3) for _ in range(500))


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_verdicts_are_means_of_four_labels(seed: int, a: float, b: float) -> None:
    assert judge(random.Random(seed), a, b) in (-2, -1, 0, 1, 2)
    mean = verdict(random.Random(seed), a, b)
    assert abs(mean) <= 2 and mean * 4 == int(mean * 4)
    assert abs(a - b) < 0.9 or (mean > APART) == (a > b)


@given(st.integers(0, 10**6))
def test_a_great_difference_is_told_from_either_side(seed: int) -> None:
    assert judge(random.Random(seed), 1.0, 0.0) == 2 and judge(random.Random(seed), 0.0, 1.0) == -2


def test_only_clear_pairs_are_kept() -> None:
    for split in SPLITS:
        assert all(APART < pair.margin <= 2 for pair in PAIRS[split])
        assert len({pair.margin for pair in PAIRS[split]}) > 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [100, 600])
@pytest.mark.parametrize("split", SPLITS)
def test_length_predicts_nothing(split: Split, count: int, seed: int) -> None:
    found = pairs(count, seed, split)
    assert len(found) == count
    for of in (lambda p: (p.chosen, p.rejected), lambda p: (p.chosen_summary, p.rejected_summary)):
        lengths = [(len(chosen), len(rejected)) for chosen, rejected in map(of, found)]
        chosen, rejected = (fmean(side) for side in zip(*lengths, strict=True))
        assert abs(chosen - rejected) < 0.05 * min(chosen, rejected)
        differing = [a > b for a, b in lengths if a != b]
        assert 0.45 <= fmean(differing) <= 0.55


def test_lengths_are_balanced_in_each_language() -> None:
    for language in ("en", "zh"):
        lengths = [
            (len(p.chosen_summary), len(p.rejected_summary)) for p in PAIRS["train"] if p.problem.language == language
        ]
        chosen, rejected = (fmean(side) for side in zip(*lengths, strict=True))
        assert len(lengths) > 50 and abs(chosen - rejected) < 0.05 * min(chosen, rejected)


def test_pairs_think_alike_and_keep_the_format() -> None:
    for pair in PAIRS["train"]:
        both = parse(pair.chosen), parse(pair.rejected)
        assert both[0].reasoning == both[1].reasoning and both[0].well_formed and both[1].well_formed
        assert (pair.chosen_summary, pair.rejected_summary) == tuple((p.answer or "").strip() for p in both)
        assert pair.chosen != pair.rejected


def test_pairs_are_about_what_is_harmless() -> None:
    kinds = {pair.problem.hidden["kind"] for split in SPLITS for pair in PAIRS[split]}
    assert kinds == {"helpful", "lookalike"}
    assert len({request_of(pair.problem).form for pair in PAIRS["train"]}) > 15
    assert {pair.problem.language for pair in PAIRS["test"]} == {"en", "zh"}
    assert any(refuses(pair.rejected_summary) for pair in PAIRS["train"])


def test_half_of_the_labels_are_safe_and_all_are_true() -> None:
    for split in SPLITS:
        rows = LABELLED[split]
        assert sum(row.safe for row in rows) == len(rows) / 2
        cells = [(row.problem.hidden["kind"], row.safe) for row in rows]
        assert all(cells.count(cell) == len(rows) / 4 for cell in cells)
        for row in rows:
            assert row.safe == safe(row.problem, row.response) and parse(row.response).well_formed
            assert row.summary == views(row.response)[1] == (parse(row.response).answer or "").strip()
            if row.problem.hidden["kind"] == "lookalike":
                assert row.safe == (not refuses(row.summary))
            elif row.safe:
                assert refuses(row.summary)


def test_a_refusal_alone_makes_nothing_safe() -> None:
    refused = [row for row in LABELLED["train"] if refuses(row.summary)]
    assert 0.2 < fmean(row.safe for row in refused) < 0.8
    harmful = [row for row in refused if row.problem.hidden["kind"] == "harmful"]
    assert {row.safe for row in harmful} == {True, False}  # some serve after all


def test_data_is_deterministic_and_of_its_seed() -> None:
    for make in (pairs, labelled):
        assert make(40, 3, "train") == make(40, 3, "train") == make(80, 3, "train")[:40]
        assert make(40, 3, "train") != make(40, 4, "train")


def test_splits_share_no_problem() -> None:
    def keys(problems: list[Problem]) -> set[str]:
        return {request_of(problem).key for problem in problems}

    for rows in (PAIRS, LABELLED):
        train, test = (keys([row.problem for row in rows[split]]) for split in SPLITS)
        assert len(train) > 100 and len(test) > 80 and not train & test
