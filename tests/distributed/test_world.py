"""What processes tell each other arrives whole and in order, and questions that are divided come back as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.cli.shared import complain
from aha.distributed import world as worlds
from aha.distributed.exchange import Exchange, packed, unpacked
from aha.distributed.lead import Led, led
from aha.distributed.world import World, joined, launched
from aha.errors import RunFailed, Stopped, UserError
from aha.evaluation.grading import Pairs
from aha.models.templates import parse
from aha.types import Abstain, Completion, Failed, Message, Outcome, Problem, Prompt, Rollout, Sampling, Score, Verdict
from rank_processes import on_ranks

ODD = [0.1 + 0.2, -1e-320, math.inf, 5e-324, 1 / 3]


def telling() -> list[Any]:
    with joined(60, "cpu") as world:
        data = bytes(range(world.rank * 7))
        return [
            world.gather(data), world.gather(b""), world.told({"odd": ODD, "rank": world.rank}),
            world.agreed([world.rank, "é"]), world.any(world.rank == 2), world.any(False),
        ]  # fmt: skip


def test_what_is_told_is_heard() -> None:
    parts = [bytes(range(rank * 7)) for rank in range(3)]
    told = [{"odd": ODD, "rank": rank} for rank in range(3)]
    assert on_ranks(telling, size=3) == [[parts, [b""] * 3, told, [0, "é"], True, False]] * 3


def test_one_process_needs_nobody() -> None:
    world = World()
    assert world.first and world.gather(b"x") == [b"x"] and world.agreed((1, 2)) == (1, 2) and not world.any(False)


def test_half_an_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UserError, match="MASTER_ADDR, MASTER_PORT not; start with torchrun"):
        launched()


@pytest.mark.parametrize(("size", "said"), [("1", "aha: no room\n"), ("4", "aha: (process 3) no room\n")])
def test_sentences_say_whose_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: str, said: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", "3")
    complain("no room")
    assert capsys.readouterr().err == said


def missing() -> str:
    """Rank 0 waits for one that does not come."""
    worlds.MEETING_S = 1.0
    if launched().rank:
        return ""
    try:
        with joined(60, "cpu"):
            return "met"
    except RunFailed as error:
        return str(error)


def test_those_who_do_not_meet_end() -> None:
    said = on_ranks(missing)[0]
    assert "the 2 processes did not all meet at 127.0.0.1" in said and said.count("\n") == 0


OUTCOMES = st.one_of(
    st.builds(Score, st.floats(allow_nan=False), st.text()), st.builds(Abstain, st.text()), st.builds(Failed, st.text())
)
TOKENS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.floats(allow_nan=False)), max_size=5)


@st.composite
def judged(draw: st.DrawFn) -> tuple[Completion, Verdict]:
    tokens, total = draw(TOKENS), draw(st.none() | st.floats(allow_nan=False))
    completion = Completion(
        tuple(i for i, _ in tokens), tuple(x for _, x in tokens), draw(st.sampled_from(["stop", "length"])), 3
    )
    return completion, Verdict(draw(st.dictionaries(st.text(), OUTCOMES, max_size=3)), total)


@given(st.lists(st.lists(judged(), max_size=3), max_size=3))
def test_groups_travel_to_the_last_bit(groups: list[list[tuple[Completion, Verdict]]]) -> None:
    assert repr(unpacked(packed(groups))) == repr(groups)


class Plain:
    """A dialogue whose texts are the tokens."""

    def read(self, problem: Problem, prompt_ids: tuple[int, ...], completion: Completion) -> Rollout:
        return Rollout(problem, prompt_ids, completion, str(completion.ids), parse(""))


def asked(count: int) -> tuple[list[Problem], list[Prompt]]:
    problems = [Problem(f"p{i}", "t", (Message("user", str(i)),), "") for i in range(count)]
    return problems, [Prompt((i,), 2, i) for i in range(count)]


def divided(counts: Sequence[int]) -> list[tuple[list[Pairs], list[int]]]:
    """The groups of `counts` questions, and which of them were made here."""
    found = []
    with joined(60, "cpu") as world:
        for count in counts:
            problems, prompts = asked(count)
            mine: list[int] = []

            def make(places: Sequence[int], problems: Any = problems, prompts: Any = prompts, mine: Any = mine) -> Any:
                mine += places
                graded = [(Completion((world.rank, p), (-0.1, -0.2), "stop", 1), outcome(p)) for p in places]
                return [
                    [(Plain().read(problems[p], prompts[p].ids, c), Verdict({"a": o}, None))] * 2
                    for p, (c, o) in zip(places, graded, strict=True)
                ]

            found.append((Exchange(world, Plain())(problems, prompts, make), mine))  # type: ignore[arg-type]
    return found


def outcome(place: int) -> Outcome:
    return [Score(place / 3, "why"), Abstain("none"), Failed("broke")][place % 3]


def test_questions_are_divided_and_come_back() -> None:
    counts = (5, 1, 2)
    one, two = on_ranks(divided, counts)
    for (groups, mine), (theirs, others), count in zip(one, two, counts, strict=True):
        assert groups == theirs and sorted(mine + others) == list(range(count))
        for place, pairs in enumerate(groups):
            assert [r.problem.id for r, _ in pairs] == [f"p{place}"] * 2
            assert pairs[0][0].completion.ids == (place % 2, place) and pairs[0][1].outcomes["a"] == outcome(place)
            assert pairs[0][0].text == str((place % 2, place))


class Drawing:
    """An engine that draws the prompt and its own number."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Any:
        for place, prompt in reversed(list(enumerate(prompts))):
            for sample in range(prompt.n):
                yield place, sample, Completion((*prompt.ids, sample, self.rank), (-0.5,) * 3, "stop", 0)


def helped(ending: str) -> tuple[Any, list[str]]:
    loaded: list[str] = []

    def make(model: str, slots: int) -> Any:
        loaded.append(f"{model} {slots}")
        return Drawing(1)

    with joined(60, "cpu") as world:

        def run() -> dict[str, Any]:
            for model in ("a", "a", "b", "a"):
                engine = Led(world, Drawing(0), model, 4)  # type: ignore[arg-type]
                drawn = engine.generate(asked(3)[1], Sampling(8))
            if ending == "stopped":
                raise Stopped("part 1 is saved")
            if ending == "failed":
                raise UserError("nothing was kept")
            return {"drawn": [[c.ids for c in row] for row in drawn]}

        try:
            return led(world, run, make, lambda: None), loaded
        except (Stopped, UserError, RunFailed) as error:
            return f"{type(error).__name__}: {error}", loaded


def test_the_first_leads_and_the_others_help() -> None:
    (first, _), (second, loaded) = on_ranks(helped, "well")
    assert first == second == {"drawn": [[[0, 0, 0], [0, 1, 0]], [[1, 0, 1], [1, 1, 1]], [[2, 0, 0], [2, 1, 0]]]}
    assert loaded == ["a 4", "b 4", "a 4"], "an engine that is not used any more is given up"


@pytest.mark.parametrize(
    ("ending", "first", "second"),
    [
        ("stopped", "Stopped: part 1 is saved", "Stopped: part 1 is saved"),
        ("failed", "UserError: nothing was kept", "RunFailed: the first process ended: nothing was kept"),
    ],
)
def test_all_end_as_the_first_does(ending: str, first: str, second: str) -> None:
    assert [said for said, _ in on_ranks(helped, ending)] == [first, second]
