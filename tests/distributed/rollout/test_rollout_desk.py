"""Which question is with which worker: rooms, shares, losses, late answers, reward workers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from puppets import Puppet, Puppets, group, setups

from aha.choices import WorkersChoice
from aha.distributed.exchange import unpacked
from aha.distributed.rollout import desk as desks
from aha.distributed.rollout.books import Books, Line, balance
from aha.distributed.rollout.channel import Kind
from aha.distributed.rollout.crew import Crew
from aha.distributed.rollout.desk import MOST_DEATHS, Desk
from aha.distributed.rollout.questions import Question, question_of
from aha.errors import RunFailed
from aha.types import Prompt, Sampling

SAMPLING = Sampling(8)


def question(number: int, samples: int = 2) -> Question:
    return Question(str(number), Prompt((1, 2, number), samples, number), number, f"p{number}")


class Case:
    """A desk with puppets that are ready, and books whose lines are kept."""

    def __init__(self, rollout: int = 2, reward: int = 0, slots: int = 4, question_s: float = 0.0) -> None:
        self.counts: dict[Kind, int] = {"rollout": rollout, "reward": reward}
        self.launcher, self.lines = Puppets(), list[Line]()
        self.crew = Crew(self.launcher, setups(), WorkersChoice(heartbeat_s=1e6), lambda: self.counts)
        self.desk = Desk(Books(self.lines.append), self.crew, slots, question_s)
        self.come()

    def come(self) -> None:
        self.crew.fill()
        for member in self.crew.members.values():
            if not member.ready:
                member.worker.say("ready")  # type: ignore[attr-defined]
        self.look()

    def look(self, version: int = 0) -> None:
        """What the pool does between two waits."""
        for member, message in self.crew.words():
            if message.kind in ("made", "graded"):
                self.desk.heard(member, message)
        for member, why in self.crew.gone():
            self.desk.lost(member, why)
        self.desk.hand_out(version)
        self.desk.hand_out_to_graders()

    def ask(self, *numbers: int, whole: bool = False) -> None:
        self.desk.ask([question(number) for number in numbers], SAMPLING, whole)
        self.look()

    def worker(self, name: str) -> Puppet:
        found: Puppet = self.launcher.workers[name]
        return found

    def having(self, name: str) -> list[str]:
        return list(self.worker(name).drawn())

    def kill(self, name: str) -> None:
        self.worker(name).why = "killed"
        self.crew.done("rollout")  # it was not the first thing that it did
        self.look()
        self.come()


def test_a_worker_has_what_its_slots_hold_and_one_more() -> None:
    case = Case()
    case.ask(*range(9))
    assert case.having("rollout-0") == ["0", "2", "4"] and case.having("rollout-1") == ["1", "3", "5"]
    case.worker("rollout-1").makes("3", 2)
    case.look(version=7)
    assert case.having("rollout-1") == ["1", "3", "5", "6"] and list(case.desk.made) == ["3"]
    order = case.worker("rollout-1").orders[-1]
    assert order.about["version"] == 7 and order.about["sampling"] == (8, 1.0, 0, 1.0) and not order.about["whole"]
    assert question_of(order.about["questions"][0]) == question(6)
    taken = case.desk.take("3", 1)
    assert [completion.ids for completion, _ in taken] == [(0,), (1,)] and not case.desk.made


def test_a_whole_is_divided_once_in_one_order_each() -> None:
    case = Case(slots=1)
    case.ask(*range(5), whole=True)
    assert case.having("rollout-0") == ["0", "2", "4"] and case.having("rollout-1") == ["1", "3"]
    draws = [order for order in case.worker("rollout-0").orders if order.kind == "draw"]
    assert len(draws) == 1 and draws[0].about["whole"]


def test_what_a_dead_worker_had_goes_to_others_before_what_waits() -> None:
    case = Case(slots=2)
    case.ask(*range(6), whole=False)
    assert case.having("rollout-0") == ["0", "2"]
    case.worker("rollout-0").makes("2", 2)
    case.look()
    assert case.having("rollout-0") == ["0", "2", "4"], "5 waits"
    case.kill("rollout-0")
    assert case.having("rollout-2") == ["4", "0"] and "2" in case.desk.made
    for name in ("4", "0"):
        case.worker("rollout-2").makes(name, 2)
    case.look()
    assert case.having("rollout-2")[2:] == ["5"]
    for name in ("1", "3"):
        case.worker("rollout-1").makes(name, 2)
    case.worker("rollout-2").makes("5", 2)
    case.look()
    for place in range(6):
        case.desk.take(str(place), 1)
    found = balance(case.lines)
    assert len(found.taken) == 6 and found.again == 2 and found.late == 0


def test_an_answer_of_a_worker_that_was_taken_for_dead_is_late() -> None:
    case = Case(rollout=1)
    case.ask(0)
    dead = case.worker("rollout-0")
    member = case.crew.members["rollout-0"]
    case.crew.drop(member)
    case.desk.lost(member, "silent")
    case.come()
    dead.makes("0", 2)
    case.look()
    assert not case.desk.made and case.having("rollout-1") == ["0"]
    case.worker("rollout-1").makes("0", 2)
    case.look()
    case.desk.take("0", 1)
    dead.makes("0", 2)
    case.look()
    assert balance(case.lines).late == 2


def test_a_question_that_is_out_too_long_goes_to_a_second_worker_and_the_first_answer_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(rollout=3, question_s=10)
    case.ask(0)
    began = desks.time.monotonic()
    monkeypatch.setattr(desks.time, "monotonic", lambda: began + 9)
    case.look()
    assert not case.having("rollout-1")
    monkeypatch.setattr(desks.time, "monotonic", lambda: began + 11)
    case.look(version=1)
    case.look(version=1)
    assert case.having("rollout-1") == ["0"] and not case.having("rollout-2")
    monkeypatch.setattr(desks.time, "monotonic", lambda: began + 99)
    case.look(version=1)
    assert not case.having("rollout-2"), "two at a time are enough"
    case.worker("rollout-0").makes("0", 2)
    case.worker("rollout-1").makes("0", 2)
    case.look()
    case.desk.take("0", 1)
    found = balance(case.lines)
    assert found.again == 1 and found.late == 1


def test_of_two_attempts_one_may_die(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(question_s=10)
    case.ask(0)
    began = desks.time.monotonic()
    monkeypatch.setattr(desks.time, "monotonic", lambda: began + 11)
    case.look()
    case.kill("rollout-0")
    assert case.having("rollout-1") == ["0"] and not case.having("rollout-2"), "the other one still makes it"


def test_a_question_that_ends_every_worker_ends_the_run() -> None:
    case = Case(rollout=1)
    case.ask(0)
    with pytest.raises(RunFailed, match=f"{MOST_DEATHS + 1} workers that had question 0 ended; the last one: killed"):
        for number in range(MOST_DEATHS + 1):
            case.kill(f"rollout-{number}")


def test_those_who_leave_are_no_deaths() -> None:
    case = Case(rollout=2)
    case.ask(0, 1)
    for _ in range(2 * MOST_DEATHS):
        case.counts["rollout"] = 1
        for member in case.crew.surplus():
            case.desk.lost(member, "")
        case.counts["rollout"] = 2
        case.come()
    assert len(case.lines) > 4 * MOST_DEATHS


def test_a_group_of_another_size_is_no_answer() -> None:
    case = Case(rollout=1)
    case.ask(0)
    case.worker("rollout-0").makes("0", 3)
    with pytest.raises(RunFailed, match=r"worker rollout-0 made \[3\] rollouts of 2"):
        case.look()


class TestRewardWorkers:
    """Completions go on to others, who grade them."""

    def test_they_give_the_verdicts(self) -> None:
        case = Case(rollout=1, reward=1)
        case.ask(0)
        order = case.worker("rollout-0").orders[-1]
        assert question_of(order.about["questions"][0]) == replace(question(0), index=-1), "nobody grades it there"
        case.worker("rollout-0").makes("0", 2, value=0.0)
        case.look()
        assert not case.desk.made
        grade = case.worker("reward-0").orders[-1]
        assert grade.kind == "grade" and question_of(grade.about["question"]) == question(0)
        assert len(unpacked(grade.body)[0]) == 2
        case.worker("reward-0").say("graded", group(2, 1.0), question="0", attempt=1)
        case.look()
        assert [verdict.total for _, verdict in case.desk.take("0", 1)] == [1.0, 1.0]

    def test_one_that_dies_is_followed_by_another_and_nothing_is_sampled_again(self) -> None:
        case = Case(rollout=1, reward=1)
        case.ask(0)
        case.worker("rollout-0").makes("0", 2)
        case.look()
        case.kill("reward-0")
        case.look()
        assert case.worker("reward-1").orders[-1].kind == "grade"
        case.kill("rollout-0")
        assert not case.having("rollout-1"), "its completions are here"
        case.worker("reward-1").say("graded", group(2), question="0", attempt=1)
        case.worker("reward-1").say("graded", group(2), question="0", attempt=1)
        case.look()
        case.desk.take("0", 1)
        found = balance(case.lines)
        assert found.again == 0 and found.late == 1

    def test_they_have_a_few_groups_at_a_time(self) -> None:
        case = Case(rollout=1, reward=1, slots=64)
        case.ask(*range(9))
        for number in range(9):
            case.worker("rollout-0").makes(str(number), 2)
        case.look()
        grades = case.worker("reward-0").orders
        assert len(grades) == desks.GRADED_EACH
        case.worker("reward-0").say("graded", group(2), question="0", attempt=1)
        case.look()
        assert len(grades) == desks.GRADED_EACH + 1

    def test_without_any_left_groups_are_sampled_again_by_those_who_grade(self) -> None:
        case = Case(rollout=1, reward=1)
        case.counts["reward"] = 1
        case.ask(0)
        case.worker("rollout-0").makes("0", 2)
        case.counts["reward"] = 0
        for member in case.crew.surplus():
            case.desk.lost(member, "")
        case.look()
        case.look()
        order = case.worker("rollout-0").orders[-1]
        assert question_of(order.about["questions"][0]) == question(0), "with its problem"
        case.worker("rollout-0").makes("0", 2)
        case.look()
        case.desk.take("0", 1)
        assert balance(case.lines).again == 1

    def test_of_two_that_have_drawn_the_first_is_graded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        case = Case(rollout=2, reward=1, question_s=10)
        case.ask(0)
        began = desks.time.monotonic()
        monkeypatch.setattr(desks.time, "monotonic", lambda: began + 11)
        case.look()
        case.worker("rollout-1").makes("0", 2)
        case.look()
        case.worker("rollout-0").makes("0", 2)
        case.look()
        assert [order.about["attempt"] for order in case.worker("reward-0").orders] == [2]
        case.worker("reward-0").say("graded", group(2), question="0", attempt=2)
        case.look()
        case.desk.take("0", 1)
        assert balance(case.lines).late == 1

    def test_a_slow_one_may_answer_before_the_next_has_begun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        case = Case(rollout=1, reward=1, slots=64, question_s=10)
        case.ask(*range(desks.GRADED_EACH))
        for number in range(desks.GRADED_EACH):
            case.worker("rollout-0").makes(str(number), 2)
        case.look()
        began = desks.time.monotonic()
        monkeypatch.setattr(desks.time, "monotonic", lambda: began + 11)
        case.desk.hand_out(0)  # all are taken from it, to be given again
        for number in range(desks.GRADED_EACH):
            case.worker("reward-0").say("graded", group(2), question=str(number), attempt=1)
        for member, message in case.crew.words():
            case.desk.heard(member, message)
        case.desk.take("0", 1)
        case.look()
        assert len(case.worker("reward-0").orders) == desks.GRADED_EACH
