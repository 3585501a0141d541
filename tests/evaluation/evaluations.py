"""What the tests of evaluations share: respondents that answer by rule, small suites, and folders to put them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from aha.evaluation.respondents import Respondent, Responses, Taken, Wanted
from aha.evaluation.run import Asked, questions, run, settings_of
from aha.evaluation.store import Store, folder_of
from aha.evaluation.suites import Suite
from aha.models.templates import parse
from aha.protocols import Speaker
from aha.types import Completion, Failed, Problem, Rollout, Sampling

SAMPLING = Sampling(64, 0.6, 0, 0.95)


def taken(problem: Problem, text: str) -> Taken:
    """A response of so many tokens as it has words."""
    words = tuple(range(len(text.split())))
    completion = Completion(words, (0.0,) * len(words), "stop", 0)
    return Taken(Rollout(problem, (), completion, text, parse(text)), len(words), 1)


class Answering:
    """A respondent that says what `say(problem, sample)` says, None for nothing; it knows what it was asked, and breaks
    after `breaks_after` samples."""

    def __init__(
        self, say: Callable[[Problem, int], str | None], *, together: int = 2, breaks_after: int = 10**9
    ) -> None:
        self.say, self.left = say, breaks_after
        self.asked: list[tuple[str, int]] = []
        self.respondent = Respondent(self._respond, together)

    def _respond(self, problems: Sequence[Problem], wanted: Wanted) -> Responses:
        for problem, sample in sorted(((p, s) for p in problems for i, s in wanted if p.id == i), key=lambda x: x[1]):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.asked.append((problem.id, sample))
            yield problem, sample, lambda p=problem, s=sample: self._read(p, s)

    def _read(self, problem: Problem, sample: int) -> Taken | Failed:
        text = self.say(problem, sample)
        return Failed("nobody is there") if text is None else taken(problem, text)


def evaluated(
    suite: Suite, who: Answering, out: Path, *, judge: Speaker | None = None, seed: int = 0, k: int = 0
) -> tuple[Path, dict[str, Any]]:
    """The folder and the results of `who` on `suite`."""
    asked: dict[str, Asked] = questions(suite, seed)
    model, judging = {"name": "rule"}, {"name": "judge"} if judge else None
    settings = settings_of(suite, asked, model, judging, k=k or suite.samples, seed=seed)
    path = folder_of(out, "rule", suite.name, settings)
    with closing(Store(path, settings)) as store:
        return path, run(suite, asked, who.respondent, store, model="rule", judge=judge)
