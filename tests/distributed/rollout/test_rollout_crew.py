"""Who works: starting, missing, replacing, parting."""

from __future__ import annotations

import pytest
from puppets import Puppet, Puppets, setups

from aha.choices import WorkersChoice
from aha.distributed.rollout import crew as crews
from aha.distributed.rollout.channel import Kind
from aha.distributed.rollout.crew import Crew
from aha.errors import RunFailed, UserError


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(crews, "time", made)
    return made


class Case:
    """A crew of puppets that are ready."""

    def __init__(self, **counts: int) -> None:
        self.counts: dict[Kind, int] = {"rollout": 2, "reward": 0, **counts}  # type: ignore[dict-item]
        self.launcher = Puppets()
        choice = WorkersChoice(heartbeat_s=30, start_s=60)
        self.crew = Crew(self.launcher, setups(), choice, lambda: self.counts)
        self.crew.fill()
        self.come()

    def come(self) -> None:
        for worker in self.launcher.workers.values():
            worker.say("ready")
        self.crew.words()

    def worker(self, name: str) -> Puppet:
        found: Puppet = self.launcher.workers[name]
        return found

    @property
    def names(self) -> list[str]:
        return list(self.crew.members)


def test_names_say_kind_and_number_and_are_not_used_again(clock: Clock) -> None:
    case = Case(reward=1)
    assert case.names == ["rollout-0", "rollout-1", "reward-0"] and case.crew.settled
    case.worker("rollout-0").why = "its process was ended by signal 9"
    assert [(m.name, why) for m, why in case.crew.gone()] == [("rollout-0", "its process was ended by signal 9")]
    assert case.worker("rollout-0").killed
    case.crew.fill()
    assert case.names == ["rollout-1", "reward-0", "rollout-2"]
    assert case.worker("reward-0").setup.kind == "reward"


def test_it_is_settled_when_the_first_have_come_or_failed(clock: Clock) -> None:
    launcher = Puppets()
    crew = Crew(launcher, setups(), WorkersChoice(), lambda: {"rollout": 2, "reward": 0})
    assert not crew.settled
    crew.fill()
    launcher.workers["rollout-1"].say("ready")
    crew.words()
    assert not crew.settled, "rollout-0 may still come"
    launcher.workers["rollout-0"].why = "gone"
    crew.gone()
    assert crew.settled
    crew.fill()
    assert "rollout-2" in crew.members and crew.settled, "those that come later are not waited for"


def test_silence_is_death_and_any_word_is_life(clock: Clock) -> None:
    case = Case()
    clock.now += 20
    case.worker("rollout-1").say("beat")
    case.crew.words()
    clock.now += 20
    ((member, why),) = case.crew.gone()
    assert member.name == "rollout-0" and why == "it gave no sign of life for 30 s" and member.worker.killed  # type: ignore[attr-defined]
    case.worker("rollout-0").say("made", question="0")
    assert [message.kind for _, message in case.crew.words()] == ["made"], "its last words are heard, as late ones"
    case.worker("rollout-0").why = "killed"
    case.crew.words()
    case.worker("rollout-0").say("beat")
    assert not case.crew.words(), "after its end nobody listens"


def test_one_that_does_not_come_up_is_given_up(clock: Clock) -> None:
    case = Case()
    case.counts["rollout"] = 3
    case.crew.fill()
    clock.now += 61
    for name in ("rollout-0", "rollout-1"):
        case.worker(name).say("beat")
    case.crew.words()
    assert [(m.name, why) for m, why in case.crew.gone()] == [("rollout-2", "it was not ready within 60 s")]


def test_those_that_end_at_once_are_followed_ever_later_and_at_last_end_the_run(clock: Clock) -> None:
    case = Case(rollout=1)
    pauses = []
    with pytest.raises(
        RunFailed, match="6 rollout workers in a row ended before they had done anything; rollout-5: bad"
    ):
        while True:
            case.worker(case.names[0]).why = "bad"
            case.crew.gone()
            began = clock.now
            while not case.names:
                case.crew.fill()
                clock.now += 0 if case.names else 0.5
            pauses.append(clock.now - began)
    assert pauses == [0, 1, 2, 4, 8]


def test_one_that_has_done_something_is_followed_at_once(clock: Clock) -> None:
    case = Case(rollout=1)
    for _ in range(20):
        case.crew.done("rollout")
        case.worker(case.names[0]).why = "killed"
        case.crew.gone()
        case.crew.fill()
        assert case.names


def test_what_cannot_get_better_ends_the_run(clock: Clock) -> None:
    case = Case()
    case.worker("rollout-1").say("failed", why="model 'x' cannot be loaded", final=True)
    case.crew.words()
    with pytest.raises(UserError, match="worker rollout-1: model 'x' cannot be loaded"):
        case.crew.gone()


def test_an_error_that_may_pass_is_a_death(clock: Clock) -> None:
    case = Case()
    case.worker("rollout-1").say("failed", why="RuntimeError: CUDA", final=False)
    case.crew.words()
    assert [(m.name, why) for m, why in case.crew.gone()] == [("rollout-1", "RuntimeError: CUDA")]


def test_more_and_fewer(clock: Clock) -> None:
    case = Case()
    clock.now += 1
    case.counts["rollout"] = 4
    assert not case.crew.surplus()
    case.crew.fill()
    assert case.names == ["rollout-0", "rollout-1", "rollout-2", "rollout-3"]
    case.worker("rollout-2").say("ready")
    case.crew.words()
    case.counts["rollout"] = 1
    left = [member.name for member in case.crew.surplus()]
    assert left == ["rollout-3", "rollout-2", "rollout-0"], "those that are not ready first, then the newest"
    assert all(case.worker(name).orders[-1].kind == "leave" and case.worker(name).killed for name in left)
    assert not case.crew.gone(), "that is no death"
