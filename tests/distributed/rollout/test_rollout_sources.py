"""Where a step's groups come from: within a step as without workers, ahead of it no more than K versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kits import collector_of, engine_of, kit_of, lucky
from puppets import Puppets, setups, threads

from aha.choices import WorkersChoice
from aha.config import PreferenceChoice
from aha.distributed.rollout.books import Books, Line, balance
from aha.distributed.rollout.pool import Pool
from aha.distributed.rollout.sources import Ahead, Within
from aha.rewards import table
from aha.training.collect import Collected, Collector, collect, question
from aha.types import Rollout, Score
from tiny_models import TinyFactory


@pytest.fixture(autouse=True)
def luck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.REWARDS, "accuracy", lucky)


@pytest.fixture
def folder(tiny: TinyFactory) -> Path:
    return tiny("qwen3")


class Case:
    """A source with workers that are threads; a step takes groups and publishes weights that differ a little."""

    def __init__(self, folder: Path, pool: Pool, books: Books, lines: list[Line], collector: Collector) -> None:
        self.pool, self.books, self.lines, self.collector = pool, books, lines, collector
        self._state = engine_of(folder).model.state_dict()

    def weights(self, done: int) -> dict[str, torch.Tensor]:
        return {name: tensor * (1 - 0.01 * done) for name, tensor in self._state.items()}

    def step(self, source: Any, done: int, attempts: int = 1) -> Collected:
        self.pool.publish(self.weights(done), done)
        found: Collected = source(self.collector, None, done, attempts)
        return found


@contextlib.contextmanager
def running(folder: Path, workers: int = 1, lines: list[Line] | None = None, **changes: Any) -> Iterator[Case]:
    lines = [] if lines is None else lines
    books = Books(lines.append)
    choice, counts = WorkersChoice(rollout=workers), {"rollout": workers, "reward": 0}
    launcher: Puppets = threads()
    kits = setups(lambda _: kit_of(folder, **changes))
    with Pool(launcher, kits, choice, lambda: counts, books, lines.append, slots=8) as pool:  # type: ignore[arg-type, return-value]
        yield Case(folder, pool, books, lines, collector_of(folder, **changes))


def tokens(found: Collected) -> list[Any]:
    return [[(r.completion.ids, r.completion.logprobs) for r in group.rollouts_G] for group in found.groups]


@pytest.mark.parametrize("attempts", [1, 3])
def test_within_a_step_all_is_as_without_workers(folder: Path, attempts: int) -> None:
    with running(folder) as case:
        source = Within(case.pool, case.books, questions=3, attempts=attempts)
        source.begin(0, {})
        own = engine_of(folder)
        for done in range(2):
            found = case.step(source, done, attempts)
            own.publish(case.weights(done), done)
            expected = collect(case.collector, own, done, attempts)
            assert found.groups == expected.groups, "tokens, log-probs, verdicts, and what is trained"
            first = done * attempts * 3
            assert found.places == tuple(range(first, first + len(found.groups)))
            assert found.values["rollout/staleness_max"] == found.values["rollout/staleness_mean"] == 0
    assert source.state() == {} and not balance(case.lines).outstanding


def test_after_a_checkpoint_a_step_is_made_again(folder: Path) -> None:
    lines: list[Line] = []
    with running(folder, lines=lines) as case:
        source = Within(case.pool, case.books, 3, 1)
        source.begin(0, {})
        before = [tokens(case.step(source, done)) for done in range(2)]
    with running(folder, lines=lines) as case:
        source = Within(case.pool, case.books, 3, 1)
        source.begin(1, {})
        assert tokens(case.step(source, 1)) == before[1]
    assert {step: len(names) for step, names in balance(lines).by_step.items()} == {1: 3, 2: 3}


def test_ahead_no_token_is_older_than_k_versions_and_every_question_is_trained_once(folder: Path) -> None:
    with running(folder, workers=2, steps=6) as case:
        source = Ahead(case.pool, case.books, ahead=2)
        source.begin(0, {})
        trained: list[int] = []
        oldest: list[float] = []
        for done in range(6):
            found = case.step(source, done)
            assert list(found.places) == sorted(found.places) and len(found.groups) == 3
            completions = [r.completion for group in found.groups for r in group.rollouts_G]
            assert all(0 <= done - c.oldest <= 2 for c in completions)
            oldest.append(found.values["rollout/staleness_max"])
            left = min(2 * 3, (5 - done) * 3)
            assert found.values["rollout/outstanding"] == left, "what the next steps will take, and no more"
            trained += found.places
    assert max(oldest) >= 1, "sampling does run ahead"
    assert sorted(trained) == list(range(18))
    assert {step: len(names) for step, names in balance(case.lines).by_step.items()} == dict.fromkeys(range(1, 7), 3)


def test_what_was_outstanding_at_a_checkpoint_is_sampled_again_first(folder: Path) -> None:
    lines: list[Line] = []
    with running(folder, lines=lines, steps=5) as case:
        source = Ahead(case.pool, case.books, ahead=1)
        source.begin(0, {})
        first = case.step(source, 0)
        kept = source.state()
        case.step(source, 1)  # which nobody keeps
    assert kept["next"] == 6 and kept["samples"] == 2
    assert sorted({*first.places, *kept["outstanding"]}) == list(range(6))
    with running(folder, lines=lines, steps=5) as case:
        source = Ahead(case.pool, case.books, ahead=1)
        source.begin(1, kept)
        assert source.state() == kept
        trained = list(first.places)
        for done in range(1, 5):
            trained += case.step(source, done).places
    assert sorted(trained) == list(range(15))
    found = balance(lines)
    assert found.began == 2 and not found.outstanding and len(found.taken) == 15
    again = [line["outstanding"] for line in lines if line["event"] == "began"][1]
    assert again == {str(number): 2 for number in kept["outstanding"]}


def test_groups_that_are_not_mixed_are_statistics(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only every third question is mixed; a step looks at more groups, all that are there, until it has seen `attempts`
    times its questions."""

    def accuracy(task: object, rollout: Rollout) -> Score:
        number = int(rollout.problem.id.rpartition("-")[2])
        return Score(float(number % 3 == 0 and rollout.completion.ids == smallest[rollout.problem.id]))

    smallest: dict[str, tuple[int, ...]] = {}
    collector = collector_of(folder)
    for place in range(60):
        problem, prompt = question(collector, place)
        smallest[problem.id] = min(c.ids for c in engine_of(folder).generate([prompt], collector.sampling)[0])
    monkeypatch.setitem(table.REWARDS, "accuracy", accuracy)
    with running(folder, steps=4) as case:
        case.weights = lambda done: case._state  # type: ignore[method-assign]
        source = Ahead(case.pool, case.books, ahead=1)
        source.begin(0, {})
        seen: list[int] = []
        for done, attempts in enumerate((9, 9, 2, 2)):
            found = case.step(source, done, attempts)
            mixed = [group for group in found.groups if group.mixed]
            assert [group.trained for group in found.groups] == [group.mixed for group in found.groups]
            assert len(mixed) == 3 if attempts == 9 else len(mixed) <= 3, (done, found.places)
            outstanding = 2 * 3  # of two steps: the last look may find them all
            assert attempts == 9 or len(found.groups) < 2 * 3 + outstanding, (done, found.places)
            assert all(place % 3 == 0 for place in found.places[: len(mixed)])
            seen += found.places
    assert len(seen) == len(set(seen)) and set(seen) == set(map(int, balance(case.lines).taken))


def test_reward_models_score_what_a_step_takes(folder: Path) -> None:
    class Preferring:
        """A task whose problems are for a reward model."""

        def __init__(self, task: Any) -> None:
            self._task = task

        def problem(self, split: str, index: int) -> Any:
            made = self._task.problem(split, index)
            return replace(made, hidden={**made.hidden, "preference": "helpful"})

    def scored(rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(10.0 + len(r.completion.ids)) for r in rollouts]

    preferences = {"helpful": PreferenceChoice(model="m", weight=0.5)}
    with running(folder, preferences=preferences, steps=3) as case:
        case.collector = replace(case.collector, task=Preferring(case.collector.task), scorers={"helpful": scored})
        for source in (Within(case.pool, case.books, 3, 1), Ahead(case.pool, case.books, ahead=1)):
            source.begin(0, {})
            group = case.step(source, 0).groups[0]
            for rollout, verdict in zip(group.rollouts_G, group.verdicts_G, strict=True):
                expected = 10.0 + len(rollout.completion.ids)
                assert verdict.value("helpful") == expected
                assert verdict.total == verdict.value("accuracy") + 0.5 * expected  # type: ignore[operator]
