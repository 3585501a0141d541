"""Run a suite: ask what is not there yet, grade it, store it, and compute the figures of all of it.

    asked = questions(suite, seed=0)
    with closing(Store(path, settings)) as store:
        results = run(suite, asked, respondent, store, header, k=suite.samples)

What stops it (a signal, an endpoint that ends, no more money) loses at most what was under way: the same call goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.errors import UserError
from aha.evaluation.evaluate import REWARD_THREADS, WEIGHTS
from aha.evaluation.figures import Figures, figures
from aha.evaluation.judging import Pair, judged_against
from aha.evaluation.records import Record, record_of, unanswered
from aha.evaluation.respondents import Respondent, Taken, Wanted
from aha.evaluation.store import Store, digest
from aha.evaluation.suites import Suite, spec_of
from aha.evaluation.summary import judged
from aha.evaluation.tables import table_of
from aha.protocols import Marks, Speaker, Task
from aha.rewards.beside import beside
from aha.rewards.compose import combined, verdict
from aha.rewards.prose import final_text
from aha.seeds import seed_of
from aha.tasks.table import make_task
from aha.types import Failed, Message, Outcome, Problem, Rollout, Sampling, Verdict

JUDGE = Sampling(max_tokens=4096, temperature=0.0)  # how a judge is asked


@dataclass(frozen=True, slots=True)
class Asked:
    """A task, and its problems as they are put: with the suite's instruction."""

    task: Task
    problems: tuple[Problem, ...]

    @property
    def digest(self) -> str:
        """Of what is asked and what is right."""
        return digest([[p.id, [m.content for m in p.messages], p.reference] for p in self.problems])


def questions(suite: Suite, seed: int) -> dict[str, Asked]:
    """The suite's problems by task. Raises UserError for data that cannot be had, and where there is no problem."""
    found = {}
    for name, source in suite.tasks.items():
        options = {key: value for key, value in suite.options.items() if source}
        task = make_task(spec_of(name, source), seed, options)
        size, most = task.size("test"), suite.problems
        if size is None and not most:
            raise UserError(f"task {name!r} makes problems without end; say how many with --problems")
        count = most if size is None else min(most or size, size)
        drawn = [_put(task.problem("test", index), suite.instruction) for index in range(count)]
        once = tuple({problem.id: problem for problem in drawn}.values())
        if not once:
            raise UserError(f"task {task.name!r} has no test problems; give it more rows")
        found[name] = Asked(task, once)
    return found


def _put(problem: Problem, instruction: str) -> Problem:
    """The problem with `instruction` under its last turn."""
    if not instruction:
        return problem
    *before, last = problem.messages
    return replace(problem, messages=(*before, Message(last.role, f"{last.content.rstrip()}\n{instruction}")))


def settings_of(
    suite: Suite, asked: Mapping[str, Asked], model: Mapping[str, Any], judge: Mapping[str, Any] | None, *, k: int,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """All that decides the figures."""
    if not 1 <= k <= suite.samples:
        raise UserError(f"pass@k with k = {k} needs as many samples, and {suite.samples} were asked for; raise -n")
    if (judge is None) != (suite.match is None):
        raise UserError(
            f"suite {suite.name!r} has no judge; leave out --judge"
            if judge is not None
            else f"suite {suite.name!r} compares answers, which needs a judge; name one with --judge"
        )
    sampling = suite.sampling
    return {
        "suite": suite.name,
        "model": dict(model),
        "tasks": {name: {"problems": len(one.problems), "digest": one.digest} for name, one in asked.items()},
        "samples": suite.samples, "k": k, "seed": seed, "instruction": suite.instruction,
        "judged on": "whole response" if suite.whole else "summary",
        "max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        **({"judge": dict(judge)} if judge is not None else {}),
    }  # fmt: skip


Progress = Callable[[str, int, int], None]  # a task's name, its samples that came, and all that were asked for


def run(
    suite: Suite, asked: Mapping[str, Asked], respondent: Respondent, store: Store, *, model: str,
    judge: Speaker | None = None, notes: Mapping[str, Any] = {}, progress: Progress = lambda name, done, planned: None,
) -> dict[str, Any]:  # fmt: skip
    """The results, written with every sample and `notes`. What has no response or no grade is tried again by the same
    call."""
    done = store.results()
    if done is not None:
        return done
    left: dict[tuple[str, str, int], Record] = {}
    for name, one in asked.items():
        grader = _Grader(name, one.task, suite, store, left, judge, _counting(progress, name, one, suite, store))
        for part in _parts(one.problems, respondent.together):
            wanted = _missing(name, part, suite, store)
            if wanted:
                grader.take(respondent.respond(part, wanted))
    tables = {
        name: [[_record(store, left, (name, p.id, s)) for s in range(suite.samples)] for p in one.problems]
        for name, one in asked.items()
    }
    k = store.settings["k"]
    found = {name: figures(asked[name].task.name, table, suite.samples, k) for name, table in tables.items()}
    results = {**_results(suite, model, store.settings, found, list(left.values())), "notes": dict(notes)}
    rows = (
        (problem, record)
        for name, one in asked.items()
        for problem, row in zip(one.problems, tables[name], strict=True)
        for record in row
    )
    store.finish(rows, results, table_of([results]))
    return results


def _results(
    suite: Suite, model: str, settings: Mapping[str, Any], found: Mapping[str, Figures], left: Sequence[Record]
) -> dict[str, Any]:
    counts = {name: sum(record.outcome == name for record in left) for name in ("failed", "unanswered")}
    return {
        "suite": suite.name, "model": model, "finished": not left, **counts,
        "why": sorted({record.why for record in left})[:5], "tasks": dict(found), "settings": dict(settings),
    }  # fmt: skip


def _record(store: Store, left: Mapping[tuple[str, str, int], Record], key: tuple[str, str, int]) -> Record:
    record = store.get(key) or left.get(key)
    assert record is not None, f"{key} was asked for and neither stored nor left over"
    return record


def _missing(name: str, problems: Sequence[Problem], suite: Suite, store: Store) -> Wanted:
    """The samples that are not there yet."""
    keys = ((problem.id, sample) for problem in problems for sample in range(suite.samples))
    return frozenset(key for key in keys if (name, *key) not in store)


def _counting(progress: Progress, name: str, one: Asked, suite: Suite, store: Store) -> Callable[[], None]:
    """Says how far a task is, now and whenever it is called after a sample."""
    planned = len(one.problems) * suite.samples
    counter = itertools.count(planned - len(_missing(name, one.problems, suite, store)))

    def count() -> None:
        progress(name, next(counter), planned)

    count()
    return count


def _parts(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    for begin in range(0, len(problems), size):
        yield problems[begin : begin + size]


@dataclass(frozen=True, slots=True)
class _Grader:
    """Grades responses, keeps what is settled in the store and the rest in `left`."""

    name: str
    task: Task
    suite: Suite
    store: Store
    left: dict[tuple[str, str, int], Record]
    judge: Speaker | None
    counted: Callable[[], None]

    def take(self, responses: Any) -> None:
        """Grade and keep. Rules grade beside sampling; a judge is asked for all of a part together."""
        if self.suite.match is None or self.judge is None:
            beside(responses, self._grade, threads=REWARD_THREADS)
            return
        came = []
        for problem, sample, read in responses:
            taken = read()
            if isinstance(taken, Failed):
                self._keep(unanswered(self.name, problem, sample, taken.reason))
            else:
                came.append((problem, sample, taken))
        pairs = [Pair(p.messages, final_text(t.rollout), p.reference, seed_of(p.id)) for p, _, t in came]
        graded = judged_against(self.judge, self.suite.match, pairs, JUDGE)
        for (_, sample, taken), (outcome, marks) in zip(came, graded, strict=True):
            rollout = taken.rollout
            self._store(taken, rollout, _with_others(self.task, rollout, outcome), sample, marks)

    def _grade(self, response: tuple[Problem, int, Callable[[], Taken | Failed]]) -> None:
        problem, sample, read = response
        taken = read()
        if isinstance(taken, Failed):
            self._keep(unanswered(self.name, problem, sample, taken.reason))
            return
        unasked = taken.bare and not self.suite.instruction  # where a form was asked for, an answer has it
        rollout = judged(taken.rollout, whole=self.suite.whole, bare=unasked)
        marks = self.task.marks(problem, rollout.text) if isinstance(self.task, Marks) else {}
        self._store(taken, rollout, verdict(self.task, rollout, WEIGHTS), sample, marks)

    def _store(self, taken: Taken, rollout: Rollout, found: Verdict, sample: int, marks: Mapping[str, float]) -> None:
        answer = rollout.parsed.answer
        vote = None if answer is None else self.task.vote_key(rollout.problem, answer)
        self._keep(
            record_of(
                self.name, rollout, found, sample, vote=vote, marks=marks, tokens=taken.tokens,
                thinking_tokens=taken.thinking,
            )
        )  # fmt: skip

    def _keep(self, record: Record) -> None:
        if record.settled:
            self.store.add(record)
        else:
            self.left[record.task, record.problem, record.sample] = record
        self.counted()


def _with_others(task: Task, rollout: Rollout, outcome: Outcome) -> Verdict:
    """A judge's outcome in the place of the task's, with the other things that are looked at."""
    others = {name: weight for name, weight in WEIGHTS.items() if name != "accuracy"}
    return combined({"accuracy": outcome, **verdict(task, rollout, others).outcomes}, WEIGHTS)
