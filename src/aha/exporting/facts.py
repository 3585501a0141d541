"""What is known of a model for its card: from its run folder, its files and what the user says. Nothing is guessed.

origin = origin_of(run, stage)
origin.stages[-1].how      # "40 steps of 32 questions x 16 samples of at most 320 tokens; grpo; ..."
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import constants

from aha.models.loading import TINY
from aha.plugins import is_plugin
from aha.studio.files import Figures, content, finite, measured, of_yaml, part, text_under
from aha.studio.lineage import MODEL, Row, rows_of, short
from aha.studio.made import evaluated, held_back
from aha.studio.read import Run, Stage
from aha.tasks.hub import FILE_ON_HUB

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zip")
BASE = "base"


@dataclass(frozen=True, slots=True)
class Made:
    """A stage on the way to a model, in words."""

    name: str
    kind: str
    reads: str
    data: str
    how: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A score. `value` and `error` are shares; `of`: what was asked; `other`: the base model's share and error."""

    what: str
    value: float
    error: float | None
    of: str
    other: tuple[float, float | None] | None = None
    more: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from. `base` is the model at the root; `data` are ids on the hub; `longest`: tokens of a
    response in the last training; `safety` where a refusal was measured."""

    recipe: str
    about: str
    template: str
    base: str
    seed: int | None
    versions: Mapping[str, str]
    stages: tuple[Made, ...]
    data: tuple[str, ...]
    scores: tuple[Measured, ...]
    sampled: str
    longest: int | None
    safety: bool


def origin_of(run: Run, stage: Stage) -> Origin:
    """What a run folder says of the model that `stage` has made."""
    rows = _ancestors(rows_of(run), stage.path.name.partition("-")[2])
    stages = [row.stage for row in rows if row.stage is not None]
    table = next((one for one in run.stages if one.kind == "evaluate" and evaluated(one).get(stage.name)), None)
    seed = run.info.get("seed", run.recipe.get("seed"))
    stages = [row.stage for row in rows if row.stage is not None]
    scores = (*_of_table(table, stage.name), *_of_stage(stage), *_of_rewards(stages))
    marks = evaluated(table)[stage.name].values() if table is not None else ()
    responses = [n for s in stages if s.kind == "rl" if (n := _count(part(s.config, "rollouts"), "max_tokens"))]
    return Origin(
        run.name,
        text_under(run.recipe, "about"),
        text_under(run.recipe, "template"),
        _root(run, stage),
        seed if isinstance(seed, int) else None,
        {name: str(run.info[name]) for name in VERSIONS if run.info.get(name)},
        tuple(_made(run, row) for row in rows if row.stage is not None),
        tuple(dict.fromkeys(name for one in stages for name in _on_hub(run, one))),
        scores,
        _sampling(table.config) if table is not None else "",
        responses[-1] if responses else None,
        any(name == "mark/refuses the harmful" for figures in marks for name in figures),
    )


VERSIONS = ("aha", "commit", "torch", "transformers", "device", "dtype", "started")


def _ancestors(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows that a row comes from, and itself, in their order."""
    by_name = {row.name: row for row in rows}
    wanted, left = set[str](), [name]
    while left:
        found = left.pop()
        if found in by_name and found not in wanted:
            wanted.add(found)
            left += by_name[found].reads
    return [row for row in rows if row.name in wanted]


def _root(run: Run, stage: Stage) -> str:
    """The model that the first stage on the way of starts began from; "" where it began from nothing."""
    planned = part(run.recipe, "stages")
    start, config = BASE, stage.config
    for _ in range(len(planned) + 1):
        if text_under(config, "kind") == "pretrain" or (not config and stage.kind == "pretrain"):
            return ""
        start = text_under(config, "start") or BASE
        if start not in planned:
            break
        config = part(planned, start)
    return text_under(run.recipe, "model") if start == BASE else start.removeprefix(MODEL)


def _made(run: Run, row: Row) -> Made:
    assert row.stage is not None
    config = row.stage.config
    tasks = config.get("task") or run.recipe.get("task")
    data = ""
    if row.kind in ("rl", "collect", "compare"):
        data = _tasks(tasks, row.stage)
    elif row.kind == "reward-model":
        data = short(text_under(config, "data"))
    elif row.kind == "sft":
        count = row.stage.result.get("conversations")
        data = f"{count:,} conversations" if isinstance(count, int) else ""
    elif row.kind == "pretrain":
        data = "generated pages: " + _shares(part(config, "pages"))
    return Made(row.name, row.kind, row.words, data, "; ".join(_how(row.stage)))


def _how(stage: Stage) -> Iterator[str]:
    """What a stage did, as far as its recipe and its result say it."""
    config, result = stage.config, stage.result
    rollouts = part(config, "rollouts")
    steps, epochs = _count(result, "steps") or _count(config, "steps"), _count(config, "epochs")
    q, g, most = (_count(rollouts, name) for name in ("questions", "group", "max_tokens"))
    if epochs:
        yield f"{epochs} epochs" if epochs > 1 else "1 epoch"
    if steps:
        drawn = f" of {q} questions x {g} samples of at most {most} tokens" if q and g and most else ""
        yield f"{steps:,} steps{drawn}"
    if name := text_under(part(config, "algorithm"), "name"):
        yield name
    if (rate := finite(part(config, "optimiser").get("lr"))) is not None:
        yield f"learning rate {rate:g}"
    if rank := _count(part(config, "lora"), "rank"):
        yield f"LoRA of rank {rank}, merged"
    if rewards := part(config, "rewards"):
        yield f"rewards {_shares(rewards)}"
    if stage.kind == "collect" and (kept := _count(result, "conversations")):
        yield f"{kept:,} conversations kept of {_count(config, 'questions') or '?'} questions"
    if stage.kind == "compare" and (kept := _count(result, "pairs")):
        yield f"{kept:,} pairs kept"


def _count(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shares(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{short(str(name))} {value:g}" for name, value in data.items() if finite(value) is not None)


def _tasks(choice: Any, stage: Stage) -> str:
    """The tasks of a stage, without the folders of a user's machine."""
    if isinstance(choice, Mapping):
        shares = ((_task(str(name), stage), share) for name, share in choice.items() if finite(share) is not None)
        return ", ".join(f"{task} {share:g}" for task, share in shares)
    return _task(choice, stage) if isinstance(choice, str) else ""


def _task(spec: str, stage: Stage) -> str:
    if is_plugin(spec):
        return PurePath(spec).name
    name, _, source = spec.partition(":")
    hub = _from_hub(source, stage) or source.startswith(FILE_ON_HUB)
    return f"{name} ({source if hub else PurePath(source).name})" if source else name


def _on_hub(run: Run, stage: Stage) -> Iterator[str]:
    """Data sets on the hub that a stage learned from."""
    if stage.kind in ("rl", "collect"):
        choice = stage.config.get("task") or run.recipe.get("task")
        for spec in choice if isinstance(choice, Mapping) else [choice]:
            source = "" if not isinstance(spec, str) or is_plugin(spec) else spec.partition(":")[2]
            if source.startswith(FILE_ON_HUB):
                yield "/".join(source.removeprefix(FILE_ON_HUB).split("/")[:2])
            elif _from_hub(source, stage):
                yield source


def _from_hub(source: str, stage: Stage) -> bool:
    """Whether `source` looks like an id, and the stage, which notes all files and folders that it reads, read none of
    that name."""
    files = stage.inputs.get("data")
    return is_hub_id(source) and isinstance(files, Mapping) and source not in files


def is_hub_id(name: str) -> bool:
    """Whether `name` may be an id on the hub: neither an embedded model nor a path that is here now."""
    return bool(HUB_ID.fullmatch(name)) and name not in TINY and not name.endswith(FILES) and not Path(name).exists()


def fetched(name: str) -> bool:
    """Whether `name` is the id of a model that this machine has fetched from the hub: a folder that is gone is not."""
    cached = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    return is_hub_id(name) and any(cached.glob("snapshots/*/config.json"))


def license_of(where: str) -> str:
    """The licence of an embedded model, or that in a folder's own card; "" where nothing says it."""
    if where in TINY:
        return "mit"
    card = content(Path(where).expanduser() / "README.md", 1 << 16) if where else ""
    if not card.startswith("---"):
        return ""
    return text_under(of_yaml(card.split("---")[1]), "license")


def _of_table(stage: Stage | None, name: str) -> Iterator[Measured]:
    """What an evaluating stage has measured of a model, task by task, beside the base model."""
    if stage is None:
        return
    table = evaluated(stage)
    for task, figures in table[name].items():
        found = _score(figures)
        if found is not None:
            base = _score(table.get(BASE, {}).get(task, {})) if name != BASE else None
            yield Measured(f"{task}, pass@1", *found, _asked(figures), base, _beside(figures))


def _of_stage(stage: Stage) -> Iterator[Measured]:
    """What the stage measured of its own model at its end, beside what it began from."""
    figures = stage.evaluation.get("after", {})
    found, before = _score(figures), _score(stage.evaluation.get("before", {}))
    if found is not None:
        what = f"{figures.get('task', 'its task')}, pass@1 at the end of `{stage.name}`"
        heat = finite(part(stage.config, "evaluation").get("temperature"))
        of = _asked(figures) + (f", temperature {heat:g}" if heat is not None else "")
        yield Measured(what, *found, of, before, _beside(figures))


def _of_rewards(stages: Sequence[Stage]) -> Iterator[Measured]:
    """How often the reward models on the way agree with preferences that were held back."""
    for stage in stages:
        rows = held_back(stage) if stage.kind == "reward-model" else ()
        if rows:
            n, share = len(rows), sum(row.right for row in rows) / len(rows)
            error = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
            what = f"reward model `{stage.name}`, agreement with held-back preferences"
            yield Measured(what, share, error, f"{n:,} preferences")


def _score(figures: Figures) -> tuple[float, float | None] | None:
    value = measured(figures, "pass@1")
    return None if value is None else (value, measured(figures, "pass@1_stderr"))


def _asked(figures: Figures) -> str:
    asked, n = measured(figures, "asked"), measured(figures, "n")
    return f"{asked:,.0f} problems x {n:.0f} samples" if asked and n else ""


def _beside(figures: Figures) -> str:
    """Figures beside the score."""
    k = measured(figures, "k")
    names = {
        f"pass@{k:.0f}" if k else "pass@k": "pass@k", f"cons@{k:.0f}" if k else "cons@k": "cons@k",
        "in the format": "format", "cut off": "truncated", "mixed languages": "mixed_language",
    }  # fmt: skip
    found = [f"{label} {100 * v:.1f} %" for label, name in names.items() if (v := measured(figures, name)) is not None]
    length = measured(figures, "mean_length")
    return ", ".join([*found, *([f"{length:.0f} tokens a response"] if length is not None else [])])


def _sampling(config: Mapping[str, Any]) -> str:
    """How an evaluating stage samples."""
    names = {"temperature": "temperature", "top_p": "top-p", "max_tokens": "tokens at most"}
    return ", ".join(f"{label} {v:g}" for name, label in names.items() if (v := finite(config.get(name))) is not None)
