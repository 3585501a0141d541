"""Instructions of a problem against a response: strictly or loosely, as a share or all or nothing.

    problem.hidden["instructions"] = [{"id": "punctuation:no_comma", "kwargs": {}}, ...]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from aha.errors import UserError, nearest
from aha.protocols import Task
from aha.rewards.instructions.kinds import KINDS
from aha.rewards.instructions.measure import Finding
from aha.rewards.prose import final_text
from aha.types import Abstain, Outcome, Rollout, Score

Instruction = Mapping[str, Any]  # {"id": ..., "kwargs": {...}}; an argument that is None is not given
Scoring = Literal["share", "all"]
MAX_LENGTH = 200_000  # characters of a response


def unusable(instructions: Any) -> str | None:
    """Why `instructions` cannot be checked, in a sentence without its full stop, or None where they can."""
    if not isinstance(instructions, Sequence) or isinstance(instructions, str):
        return f"instructions are {type(instructions).__name__}; give a list of {{'id': ..., 'kwargs': {{...}}}}"
    return next((fault for instruction in instructions if (fault := _fault(instruction))), None)


def _fault(instruction: Any) -> str | None:
    if not isinstance(instruction, Mapping) or not isinstance(instruction.get("id"), str):
        return f"an instruction is {str(instruction)[:60]!r}; give {{'id': ..., 'kwargs': {{...}}}}"
    name = instruction["id"]
    if name not in KINDS:
        return f"unknown instruction {name!r}{nearest(name, KINDS)}"
    kwargs, wanted = _kwargs(instruction), KINDS[name].arguments
    for key in kwargs:
        if key not in wanted:
            return f"unknown argument {key!r} of {name}" + (nearest(key, wanted) if wanted else "; it takes none")
    for key, argument in wanted.items():
        if key not in kwargs or not argument.fits(kwargs[key]):
            return f"argument {key!r} of {name} is {kwargs.get(key)!r}; give {argument.what}"
    return None


def _kwargs(instruction: Instruction) -> dict[str, Any]:
    """The arguments that are given; tables of rows fill the others with None, and whole numbers may come as 3.0."""
    given = {key: value for key, value in (instruction.get("kwargs") or {}).items() if value is not None}
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in given.items()}


def check(response: str, instruction: Instruction, *, loose: bool = False) -> Finding:
    """Whether `response` follows one instruction. A blank response follows none.

    `loose` tries it also without asterisks, without its first line, its last line, and all combinations of these
    (section 2.2 of the paper). Raises UserError for an instruction that cannot be checked.
    """
    fault = _fault(instruction)
    if fault:
        raise UserError(fault)
    if len(response) > MAX_LENGTH:
        return Finding(False, f"longer than {MAX_LENGTH} characters")
    kind, kwargs = KINDS[instruction["id"]], _kwargs(instruction)
    strict = kind.check(response, **kwargs) if response.strip() else Finding(False, "a blank response")
    if strict.followed or not loose:
        return strict
    for variant in _variants(response):
        found = kind.check(variant, **kwargs)
        if found.followed:
            return Finding(True, f"{found.why}, read loosely")
    return strict


def _variants(response: str) -> Iterator[str]:
    """What the loose reading tries beside the response itself."""
    lines = response.split("\n")
    shortened = ("\n".join(part).strip() for part in (lines, lines[1:], lines[:-1], lines[1:-1]))
    yield from (text for part in shortened for text in (part, part.replace("*", "")) if text.strip())


def grade(
    response: str, instructions: Sequence[Instruction], *, scoring: Scoring = "share", loose: bool = False
) -> Outcome:
    """The share of `instructions` that `response` follows, or with "all" 1 where it follows each, else 0.

    Abstains where there are none. Raises UserError for instructions that cannot be checked.
    """
    if fault := unusable(instructions):
        raise UserError(fault)
    if not instructions:
        return Abstain("no instructions")
    findings = [(instruction["id"], check(response, instruction, loose=loose)) for instruction in instructions]
    followed = sum(finding.followed for _, finding in findings)
    broken = "; ".join(f"{name}: {finding.why}" for name, finding in findings if not finding.followed)
    value = followed / len(findings) if scoring == "share" else float(followed == len(findings))
    return Score(value, f"{followed} of {len(findings)} followed" + (f"; not {broken[:500]}" if broken else ""))


def instruction_share(task: Task, rollout: Rollout) -> Outcome:
    """The share of the problem's instructions that the text after the thinking follows strictly."""
    return _reward(rollout, "share")


def instruction_all(task: Task, rollout: Rollout) -> Outcome:
    """1 where the text after the thinking follows each of the problem's instructions strictly, else 0."""
    return _reward(rollout, "all")


def _reward(rollout: Rollout, scoring: Scoring) -> Outcome:
    instructions = rollout.problem.hidden.get("instructions")
    if not instructions:
        return Abstain("the problem has no instructions")
    if rollout.completion.stop_reason != "stop":
        return Score(0.0, "cut off at the length limit")
    text = final_text(rollout)
    return Score(0.0, "the thinking is never closed") if text is None else grade(text, instructions, scoring=scoring)
