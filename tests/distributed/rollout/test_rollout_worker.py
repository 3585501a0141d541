"""A worker's loop, told by hand what it is to do: what it samples, under which weights, and what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
import torch
from kits import collector_of, engine_of, kit_of, lucky, questions_of
from puppets import setup_of

from aha.distributed.exchange import unpacked
from aha.distributed.rollout.channel import Message
from aha.distributed.rollout.digest import digest
from aha.distributed.rollout.questions import Kit, Question, plain_of
from aha.distributed.rollout.worker import work
from aha.errors import UserError
from aha.rewards import table
from aha.types import Completion, Prompt, Sampling
from tiny_models import TinyFactory

SAMPLING = Sampling(6)
PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def luck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.REWARDS, "accuracy", lucky)


@pytest.fixture
def folder(tiny: TinyFactory) -> Path:
    return tiny("qwen3")


class Told:
    """A worker in a thread, ordered by the test."""

    def __init__(self, kit: Callable[[Any], Any], kind: str = "rollout") -> None:
        self.orders: SimpleQueue[Message] = SimpleQueue()
        self.words: SimpleQueue[Message] = SimpleQueue()
        self.weights: dict[str, Mapping[str, torch.Tensor] | None] = {}
        self.raised: BaseException | None = None
        setup = setup_of(kind, kit)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._work, args=(setup,), daemon=True)
        self._thread.start()

    def _work(self, setup: Any) -> None:
        try:
            work(setup, self._take, self.words.put, self.weights.get)
        except BaseException as error:
            self.raised = error

    def _take(self, seconds: float) -> Message | None:
        try:
            return self.orders.get(timeout=seconds) if seconds else self.orders.get_nowait()
        except Empty:
            return None

    def publish(self, version: int, weights: Mapping[str, torch.Tensor] | None) -> None:
        self.weights[f"v{version}"] = weights
        self.orders.put(Message("publish", {"version": version}, handle=f"v{version}"))

    def draw(self, questions: Sequence[Question], whole: bool = False, version: int = 0, **sampling: Any) -> None:
        about = {
            "questions": [plain_of(question) for question in questions], "attempts": [1] * len(questions),
            "sampling": astuple(Sampling(**{"max_tokens": 6, **sampling})), "whole": whole, "version": version,
        }  # fmt: skip
        self.orders.put(Message("draw", about))

    def next(self, kind: str) -> Message:
        """The next word of a kind; beats in between are passed over."""
        until = time.monotonic() + PATIENCE_S
        while True:
            word = self.words.get(timeout=max(0.0, until - time.monotonic()))
            if word.kind == kind:
                return word
            assert word.kind in ("beat", "ready", "holds"), word

    def made(self, count: int) -> dict[str, list[Completion]]:
        words = [self.next("made") for _ in range(count)]
        return {word.about["question"]: [c for c, _ in unpacked(word.body)[0]] for word in words}

    def leave(self) -> None:
        self.orders.put(Message("leave"))
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def told(folder: Path) -> Iterator[Told]:
    made = Told(lambda _: kit_of(folder))
    yield made
    made.leave()
    assert made.raised is None


def state(folder: Path, scale: float = 1.0) -> dict[str, torch.Tensor]:
    return {name: tensor * scale for name, tensor in engine_of(folder).model.state_dict().items()}


def test_it_draws_and_grades_what_an_engine_here_does(told: Told, folder: Path) -> None:
    collector = collector_of(folder)
    questions = questions_of(collector, 0, 1, 2)
    told.publish(0, state(folder))
    told.draw(questions, whole=True)
    words = [told.next("made") for _ in questions]
    engine = engine_of(folder)
    expected = engine.generate([question.prompt for question in questions], SAMPLING)
    for word in words:
        place = int(word.about["question"])
        (pairs,) = unpacked(word.body)
        assert [completion for completion, _ in pairs] == expected[place], "the same tokens and log-probs, to the bit"
        assert [verdict.value("accuracy") for _, verdict in pairs] == [float(sum(c.ids) % 2) for c in expected[place]]
        assert word.about["tokens"] == sum(len(c.ids) for c in expected[place]) and word.about["attempt"] == 1
    clock = words[-1].about["clock"]
    assert clock["busy_s"] > 0 and clock["tokens"] == sum(len(c.ids) for group in expected for c in group)


def test_without_a_problem_there_is_no_verdict(told: Told, folder: Path) -> None:
    told.publish(0, state(folder))
    told.draw([Question("call-0:0", Prompt((5, 6), 2, 3))])
    ((pairs),) = unpacked(told.next("made").body)
    assert [verdict.outcomes for _, verdict in pairs] == [{}, {}]


def test_it_says_what_it_holds(told: Told, folder: Path) -> None:
    weights = state(folder, 1.5)
    told.publish(3, weights)
    word = told.next("holds")
    assert (word.about["version"], word.about["digest"]) == (3, digest(weights)) and word.about["seconds"] > 0


def test_weights_arrive_in_the_middle_of_samples(folder: Path) -> None:
    """The engine looks for orders before each step; the second time there are new weights and another question."""
    told: list[Told] = []
    looked: list[int] = []

    def build(_: Any) -> Kit:
        kit = kit_of(folder)
        assert kit.engine is not None
        stream = kit.engine.stream

        def watched(prompts: Any, sampling: Any, more: Any = None) -> Any:
            def asked(free: int) -> Any:
                looked.append(free)
                if len(looked) == 3:
                    told[0].publish(1, state(folder, 0.5))
                    told[0].draw([Question("1", Prompt((9, 8), 1, 4))], version=1)
                return more(free)

            return stream(prompts, sampling, asked)

        kit.engine.stream = watched  # type: ignore[method-assign]
        return kit

    told.append(Told(build))
    told[0].publish(0, state(folder))
    told[0].draw([Question("0", Prompt((5, 6, 7), 3, 11))], max_tokens=24)
    found = told[0].made(2)
    longest = max(found["0"], key=lambda c: len(c.ids))
    assert longest.policy_version == 1 and longest.earlier and longest.oldest == 0
    assert all(completion.oldest == 1 for completion in found["1"]), "it was given for version 1"
    told[0].leave()


def test_a_question_waits_for_weights_that_are_new_enough(told: Told, folder: Path) -> None:
    told.publish(0, state(folder))
    assert told.next("holds").about["version"] == 0
    told.publish(1, None)  # its file has given way to that of the next
    told.draw([Question("0", Prompt((5, 6), 1, 3))], version=1)
    told.next("beat")
    told.publish(2, state(folder))
    assert told.made(1)["0"][0].oldest == 2


def test_orders_of_another_sampling_come_after_one_another(told: Told, folder: Path) -> None:
    told.publish(0, state(folder))
    prompt = Prompt((5, 6), 4, 3)
    told.draw([Question("0", prompt)])
    told.draw([Question("1", prompt)], max_tokens=2)
    told.draw([Question("2", prompt)])
    told.draw([Question("3", prompt)], whole=True)
    found = told.made(4)
    assert max(len(c.ids) for c in found["1"]) <= 2 < max(len(c.ids) for c in found["0"])
    assert found["0"] == found["2"] == found["3"]


def test_what_it_cannot_be_made_of_is_final(folder: Path) -> None:
    def build(_: Any) -> Kit:
        raise UserError("model 'x' cannot be loaded; give another")

    told = Told(build)
    assert told.next("failed").about["why"] == "model 'x' cannot be loaded; give another"
    told._thread.join(PATIENCE_S)
    assert isinstance(told.raised, UserError)


def test_other_errors_may_pass(folder: Path) -> None:
    def build(_: Any) -> Kit:
        raise RuntimeError("CUDA out of memory")

    about = Told(build).next("failed").about
    assert about["why"] == "RuntimeError: CUDA out of memory" and about["final"] is False


def test_a_task_that_makes_another_problem_is_said(told: Told, folder: Path) -> None:
    told.publish(0, state(folder))
    told.draw([Question("0", Prompt((5,), 1, 3), 0, "gsm8k-0")])
    word = told.next("failed")
    assert (
        "index 0 is problem 'countdown-train-0'" in word.about["why"]
        and "'gsm8k-0' for the trainer" in word.about["why"]
    )
    told._thread.join(PATIENCE_S)
    told.raised = None


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_of_a_grader_ends_the_worker(folder: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.delitem(table.REWARDS, "accuracy")
    told = Told(lambda _: kit_of(folder, reward_threads=threads))
    told.publish(0, state(folder))
    told.draw(questions_of(collector_of(folder), 0))
    word = told.next("failed")
    assert "unknown reward 'accuracy'" in word.about["why"] and word.about["final"]


def test_a_reward_worker_grades_what_others_have_drawn(folder: Path) -> None:
    collector = collector_of(folder, reward_threads=2)
    told = Told(lambda _: Kit(collector), kind="reward")
    (question,) = questions_of(collector, 4)
    bare = Told(lambda _: kit_of(folder))
    bare.publish(0, state(folder))
    bare.draw([Question(question.name, question.prompt)])
    drawn = bare.next("made").body
    told.orders.put(Message("grade", {"question": plain_of(question), "attempt": 3}, drawn))
    word = told.next("graded")
    assert word.about["question"] == "4" and word.about["attempt"] == 3
    before, after = unpacked(drawn)[0], unpacked(word.body)[0]
    assert [c for c, _ in before] == [c for c, _ in after]
    assert [v.value("accuracy") for _, v in after] == [float(sum(c.ids) % 2) for c, _ in before]
    for one in (told, bare):
        one.leave()


def test_a_worker_that_has_nothing_to_do_says_that_it_lives(told: Told) -> None:
    ready = told.next("ready").about["clock"]
    clock = told.next("beat").about["clock"]
    assert clock["busy_s"] == ready["busy_s"] == 0
    assert clock["idle_s"] > 0.5 > ready["idle_s"], "being made is no idling"
