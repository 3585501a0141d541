"""Collecting and supervised stages as whole runs: what they leave, how they resume, what makes them run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.config import CollectStage, EvaluationChoice, OptimiserChoice, Recipe, SFTStage
from aha.errors import Stopped, UserError
from aha.pipeline import review
from aha.pipeline.conversations import read
from aha.pipeline.run import run
from aha.pipeline.sft_stage import batches
from aha.types import Sample
from small_runs import KillAt, Killed, steady, weights
from tiny_models import TinyFactory

SOME = EvaluationChoice(problems=2, samples=2, max_tokens=12)


def made(tiny: TinyFactory, **changes: Any) -> Recipe:
    """Collects from a random model, of which all but what repeats itself passes, and learns it."""
    collect = {"questions": 130, "samples": 2, "max_tokens": 8, "least": {"repetition": -0.9}, "decontaminate": 20}
    return Recipe(
        name="stages", model=str(tiny("qwen3")), template="short", threads=1,
        stages={
            "gather": CollectStage(**{**collect, **changes}),
            "taught": SFTStage(
                data=("gather",), epochs=2, batch=32, max_tokens=200, evaluation=SOME, checkpoint_every=2,
                optimiser=OptimiserChoice(lr=1e-3, schedule="cosine"),
            ),
        },
    )  # fmt: skip


def stage(out: Path, name: str) -> Path:
    return next((out / "stages").glob(f"*-{name}"))


def test_samples_become_conversations_and_are_learned(tiny: TinyFactory, tmp_path: Path) -> None:
    result = run(made(tiny), tmp_path / "run")
    gathered = read(stage(tmp_path / "run", "gather") / "data.jsonl")
    assert len(gathered) == 130 == result["conversations"] and {c.task for c in gathered} == {"countdown"}
    lines = steady(stage(tmp_path / "run", "gather") / "metrics.jsonl")
    assert [line["asked"] for line in lines] == [64, 64, 2]
    assert all(line["dropped/enough"] == line["asked"] for line in lines), "one of two samples of each question"
    table = json.loads((stage(tmp_path / "run", "gather") / "table.json").read_text())
    assert (
        table["countdown"] == table["total"] and table["total"]["samples"] == 130 and 1 <= table["total"]["tokens"] <= 8
    )
    losses = [line["loss"] for line in steady(stage(tmp_path / "run", "taught") / "metrics.jsonl")]
    assert len(losses) == result["steps"] == 10 and losses[-1] < losses[0]
    evaluated = json.loads((stage(tmp_path / "run", "taught") / "evaluation.json").read_text())
    assert set(evaluated) == {"before", "after"}


@pytest.mark.parametrize("at", [(1, 2), (2, 3), (3, 9)])
def test_broken_stages_resume_bit_for_bit(tiny: TinyFactory, tmp_path: Path, at: tuple[int, int]) -> None:
    run(made(tiny), tmp_path / "whole")
    for step in (*at, 99):
        try:
            run(made(tiny), tmp_path / "broken", KillAt(step))
        except Killed:
            continue
    for name in ("gather", "taught"):
        one, two = stage(tmp_path / "whole", name), stage(tmp_path / "broken", name)
        assert steady(one / "metrics.jsonl") == steady(two / "metrics.jsonl")
    assert (stage(tmp_path / "whole", "gather") / "data.jsonl").read_bytes() == (
        stage(tmp_path / "broken", "gather") / "data.jsonl"
    ).read_bytes()
    left, right = (weights(stage(tmp_path / name, "taught") / "model") for name in ("whole", "broken"))
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_nothing_kept_is_said(tiny: TinyFactory, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'gather' kept none of its samples; lower `least`"):
        run(made(tiny, least={"accuracy": 1.0}, questions=4), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ways": {"plainly": 1.0}}, "unknown way 'plainly'"),
        ({"refine": "rule"}, "did you mean 'rules'"),
        ({"least": {"acuracy": 1.0}}, "did you mean 'accuracy'"),
        ({"written": {"countdown": 3}}, "task 'countdown' writes no responses"),
        ({"also": ("nothing.jsonl",)}, "no file 'nothing.jsonl'"),
        ({"ways": {}}, "give at least one"),
        ({"ways": {"few-shot": 1.0}}, "few-shot needs examples"),
    ],
)
def test_what_cannot_be_used_is_named(
    tiny: TinyFactory, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        run(made(tiny, questions=2, **changes), tmp_path / "run")


def test_data_that_changed_is_learned_again(tiny: TinyFactory, tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(KillAt):
        def note(self, text: str) -> None:
            notes.append(text)

    run(made(tiny), tmp_path / "run")
    data = stage(tmp_path / "run", "gather") / "data.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:64]))
    assert run(made(tiny), tmp_path / "run", Notes(99))["steps"] == 4
    assert any("has changed (data)" in note for note in notes)


def test_from_a_stage_on(tiny: TinyFactory, tmp_path: Path) -> None:
    first = run(made(tiny), tmp_path / "run")
    assert run(made(tiny), tmp_path / "run", KillAt(1)) == first
    with pytest.raises(Killed):
        run(made(tiny), tmp_path / "run", KillAt(1), begin="taught")
    assert (tmp_path / "run/stages/02-taught.replaced-1/model").is_dir()
    with pytest.raises(UserError, match=r"no stage 'taugt'.*did you mean 'taught'"):
        run(made(tiny), tmp_path / "run", begin="taugt")
    with pytest.raises(UserError, match="'gather' comes before 'taught' and is not finished"):
        run(made(tiny), tmp_path / "other", begin="taught")


def test_a_person_decides(tiny: TinyFactory, tmp_path: Path) -> None:
    recipe = made(tiny, review=True, questions=4)
    with pytest.raises(Stopped, match="4 of 4 conversations wait for review"):
        run(recipe, tmp_path / "run")
    folder = stage(tmp_path / "run", "gather")
    assert review.export(folder, tmp_path / "todo.jsonl") == 4
    rows = [json.loads(line) for line in (tmp_path / "todo.jsonl").read_text().splitlines()]
    before = rows[1]["response"]
    rows[0]["decision"], rows[1]["decision"], rows[2]["decision"] = "accept", "edit", "reject"
    rows[1]["response"] = "better"
    (tmp_path / "done.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert review.take(folder, tmp_path / "done.jsonl", "ann") == {"accept": 1, "edit": 1, "reject": 1}
    with pytest.raises(Stopped, match="1 of 4 conversations wait"):
        run(recipe, tmp_path / "run")
    rows[3]["decision"] = "perhaps"
    (tmp_path / "done.jsonl").write_text(json.dumps(rows[3]) + "\n")
    with pytest.raises(UserError, match="decision 'perhaps' is none of accept, edit, reject"):
        review.take(folder, tmp_path / "done.jsonl", "bob")
    (tmp_path / "done.jsonl").write_text(json.dumps({**rows[3], "decision": "accept"}) + "\n")
    review.take(folder, tmp_path / "done.jsonl", "bob")
    assert run(recipe, tmp_path / "run")["conversations"] == 3
    assert [c.response for c in read(folder / "data.jsonl")][1] == "better"
    log = [json.loads(line) for line in (folder / review.LOG).read_text().splitlines()]
    assert [line["by"] for line in log] == ["ann", "ann", "ann", "bob"]
    assert (log[1]["before"], log[1]["after"]) == (before, "better") and log[2]["after"] is None


def test_each_epoch_has_every_row_once() -> None:
    rows = [Sample((i, i), (0, 1)) for i in range(10)]
    batch = batches(rows, 4, seed=3)
    epochs = [[s.ids[0] for step in range(3 * e, 3 * e + 3) for s in batch(step)] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and epochs[0] != epochs[1]
    assert [len(batch(step)) for step in range(3)] == [4, 4, 2]


def test_texts_of_all_kinds_and_ids_that_come_again_survive_a_review(tiny: TinyFactory, tmp_path: Path) -> None:
    """Line separators of Unicode are no line ends, and two rows of one id stay two."""
    odd = {"prompt": "a", "response": "one\u2028two\u0085three", "id": "x"}
    (tmp_path / "also.jsonl").write_text("".join(json.dumps(odd, ensure_ascii=False) + "\n" for _ in range(2)))
    recipe = made(tiny, review=True, questions=2, also=(str(tmp_path / "also.jsonl"),))
    with pytest.raises(Stopped, match="4 of 4"):
        run(recipe, tmp_path / "run")
    folder = stage(tmp_path / "run", "gather")
    review.export(folder, tmp_path / "todo.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "todo.jsonl").read_text().split("\n") if line]
    assert [row["id"] for row in rows[2:]] == ["x", "x#2"] and rows[3]["response"] == odd["response"]
    decided = "".join(json.dumps({**row, "decision": "accept"}) + "\n" for row in rows)
    (tmp_path / "done.jsonl").write_text(decided)
    assert review.take(folder, tmp_path / "done.jsonl", "ann")["accept"] == 4
    run(recipe, tmp_path / "run")
    assert len(read(folder / "data.jsonl")) == 4
    with pytest.raises(UserError, match="is finished"):
        review.take(folder, tmp_path / "done.jsonl", "ann")


def test_files_that_change_are_read_again(tiny: TinyFactory, tmp_path: Path) -> None:
    """Also those that a stage only adds to its own."""
    file = tmp_path / "also.jsonl"
    file.write_text('{"prompt": "a", "response": "b"}\n')
    recipe = made(tiny, questions=2, also=(str(file),))
    run(recipe, tmp_path / "run")
    assert len(read(stage(tmp_path / "run", "gather") / "data.jsonl")) == 3
    file.write_text('{"prompt": "a", "response": "b"}\n{"prompt": "c", "response": "d"}\n')
    run(recipe, tmp_path / "run")
    assert len(read(stage(tmp_path / "run", "gather") / "data.jsonl")) == 4


def test_a_task_of_ones_own_that_changes_is_asked_anew(tiny: TinyFactory, tmp_path: Path) -> None:
    code = "from aha.tasks.countdown import Countdown\nmine = lambda seed: Countdown(seed=seed, name='mine')\n"
    file = tmp_path / "own.py"
    file.write_text(code)
    recipe = made(tiny, questions=2, task=f"{file}:mine")
    run(recipe, tmp_path / "run")
    notes: list[str] = []

    class Notes(KillAt):
        def note(self, text: str) -> None:
            notes.append(text)

    run(recipe, tmp_path / "run", Notes(99))
    assert "stage gather is finished" in notes
    file.write_text(code + "# another rule\n")
    run(recipe, tmp_path / "run", Notes(99))
    assert any("what stage gather starts from has changed (data)" in note for note in notes)
