"""What stages store of their rollouts: every sample of a step with its verdicts as parquet, a few as readable JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aha.evaluation.evaluate import Evaluation
from aha.rewards.text import turns_back
from aha.types import Abstain, Failed, Group, Outcome, Rollout, Score, Verdict


def write_rollouts(folder: Path, step: int, groups: Sequence[Group]) -> None:
    """All rollouts of `step` as step-N.parquet, a row a rollout, whole or not at all."""
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "step": step,
            "problem": group.problem.id,
            "sample": number,
            "prompt_ids": list(rollout.prompt_ids),
            "ids": list(rollout.completion.ids),
            "logprobs": list(rollout.completion.logprobs),
            "stop_reason": rollout.completion.stop_reason,
            "policy_version": rollout.completion.policy_version,
            "earlier": [{"version": v, "tokens": n} for v, n in rollout.completion.earlier],
            "text": rollout.text,
            "answer": rollout.parsed.answer,
            "reference": group.problem.reference,
            "total": verdict.total,
            "advantage": advantage,
            "verdicts": [{"reward": name, **_outcome(o)} for name, o in verdict.outcomes.items()],
        }
        for group in groups
        for number, (rollout, verdict, advantage) in enumerate(
            zip(group.rollouts_G, group.verdicts_G, group.advantages_G, strict=True)
        )
    ]
    aside = folder / f".step-{step:06d}.writing"
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), aside, compression="zstd")
    os.replace(aside, folder / f"step-{step:06d}.parquet")


_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("problem", pa.string()),
        ("sample", pa.int32()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("stop_reason", pa.string()),
        ("policy_version", pa.int32()),
        ("earlier", pa.list_(pa.struct([("version", pa.int32()), ("tokens", pa.int32())]))),
        ("text", pa.string()),
        ("answer", pa.string()),
        ("reference", pa.string()),
        ("total", pa.float64()),
        ("advantage", pa.float64()),
        (
            "verdicts",
            pa.list_(
                pa.struct(
                    [("reward", pa.string()), ("outcome", pa.string()), ("value", pa.float64()), ("why", pa.string())]
                )
            ),
        ),
    ]
)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Score(value, why):
            return {"outcome": "score", "value": value, "why": why}
        case Abstain(why):
            return {"outcome": "abstain", "value": None, "why": why}
        case Failed(reason):
            return {"outcome": "failed", "value": None, "why": reason}


def groups_of(evaluation: Evaluation) -> list[Group]:
    """An evaluation's rollouts as groups that take no part in any loss."""
    return [
        Group(rollouts[0].problem, rollouts, verdicts, (None,) * len(rollouts))
        for rollouts, verdicts in zip(evaluation.rollouts_P_K, evaluation.verdicts_P_K, strict=True)
    ]


def examples(evaluation: Evaluation, count: int) -> list[dict[str, Any]]:
    """A few rollouts to read: one that turned back and was right, then the first samples of the first problems."""
    groups = [
        [_example(r, v) for r, v in zip(rollouts, verdicts, strict=True)]
        for rollouts, verdicts in zip(evaluation.rollouts_P_K, evaluation.verdicts_P_K, strict=True)
    ]
    turned = [e for group in groups for e in group if e["turned_back"] and e["score"].get("accuracy") == 1.0][:1]
    shown = {e["question"] for e in turned}
    return [*turned, *(group[0] for group in groups if group[0]["question"] not in shown)][:count]


def _example(rollout: Rollout, verdict: Verdict) -> dict[str, Any]:
    scores = {name: o.value for name, o in verdict.outcomes.items() if isinstance(o, Score)}
    return {
        "question": rollout.problem.messages[-1].content,
        "response": rollout.text,
        "score": scores,
        "why": {name: _outcome(o)["why"] for name, o in verdict.outcomes.items()},
        "length": len(rollout.completion.ids),
        "turned_back": turns_back(rollout.parsed.reasoning),
    }
