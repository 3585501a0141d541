"""Stages that ask models for verdicts and rewritings, as whole runs: behind an endpoint, and here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aha.config import CollectStage, CompareStage, OptimiserChoice, Recipe, RewardModelStage, validate
from aha.errors import RunFailed, UserError
from aha.models.dialogue import Dialogue
from aha.pipeline import collect_stage, compare_stage
from aha.pipeline.compare_stage import balanced
from aha.pipeline.conversations import read
from aha.pipeline.rewriting import parts_of
from aha.pipeline.run import run
from aha.types import Completion, Problem, Rollout
from small_runs import KillAt, Killed, steady
from stub_endpoint import Said, Stub, chat
from tiny_models import TinyFactory

PART, QUESTIONS = 16, 20  # two parts


@pytest.fixture(autouse=True)
def thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model that thinks, mixes languages, answers with a number and comes to an end; small parts."""

    def text(_: Dialogue, completion: Completion) -> str:
        return f"<think>we 加 {sum(completion.ids)}</think>{sum(completion.ids) % 7}"

    def ends(self: Dialogue, problem: Problem, prompt_ids: tuple[int, ...], completion: Completion) -> Rollout:
        return as_it_is(self, problem, prompt_ids, replace(completion, stop_reason="stop"))

    as_it_is = Dialogue.read
    monkeypatch.setattr(Dialogue, "text", text)
    monkeypatch.setattr(Dialogue, "read", ends)
    for stage in (collect_stage, compare_stage):
        monkeypatch.setattr(stage, "PART", PART)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def prompts(folder: Path) -> str:
    """A file of prompts that no rule can check, in turn with a reference and without."""
    rows = [{"prompt": f"Say an even number, {n}.", **({"reference": "even"} if n % 3 else {})} for n in range(90)]
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"prompts:{file}"


def made(tiny: TinyFactory, folder: Path, **changes: Any) -> Recipe:
    stage = {"questions": QUESTIONS, "samples": 3, "max_tokens": 6, "least": {"repetition": -1.0}, "decontaminate": 0}
    return Recipe(
        name="judged", model=str(tiny("qwen3")), task=prompts(folder), template="short", threads=1,
        stages={"gather": CollectStage(**{**stage, **changes})},
    )  # fmt: skip


def gathered(out: Path) -> Path:
    return out / "stages/01-gather"


def lines(out: Path) -> list[dict[str, Any]]:
    return steady(gathered(out) / "metrics.jsonl")


def total(out: Path, name: str) -> float:
    return sum(line.get(name, 0.0) for line in lines(out))


def between(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


def even(body: dict[str, Any], _: int) -> Said:
    """A judge of even numbers."""
    response = between(body["messages"][0]["content"], "response")
    return chat(json.dumps({"why": "parity", "correct": int(response) % 2 == 0}), tokens=(100, 10))


def answer(response: str) -> int:
    return int(response.rpartition(">")[2])


def test_a_judge_decides_what_no_rule_can(tiny: TinyFactory, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with Stub(even) as stub:
        recipe = made(tiny, tmp_path, judge={"endpoint": stub.choice(dollars_a_million_in=1.0)})
        result = run(recipe, out)
        rows = read(gathered(out) / "data.jsonl")
        free = [row for row in rows if int(row.messages[0].content.split()[-1][:-1]) % 3 == 0]
        assert free and {answer(row.response) % 2 for row in free} == {0, 1}, "without a reference nothing is judged"
        assert all(answer(row.response) % 2 == 0 for row in rows if row not in free)
        assert len(stub.asked) == len({json.dumps(body) for body in stub.asked})
        assert total(out, "judge/asked") >= len(stub.asked) and total(out, "judge/failed") == 0
        assert total(out, "kept") == len(rows) and total(out, "dropped/judge") > 0
        assert total(out, "kept") + total(out, "dropped/judge") + total(out, "dropped/enough") == 3 * QUESTIONS
        assert result["books"]["judge"]["requests"] == len(stub.asked)
        assert result["books"]["judge"]["dollars"] == pytest.approx(len(stub.asked) * 100 / 1e6)
        asked = len(stub.asked)
        assert run(recipe, out) == result and len(stub.asked) == asked
        with pytest.raises(Killed):
            run(recipe, tmp_path / "broken", KillAt(1))
        assert len(stub.asked) < 2 * asked
        assert run(recipe, tmp_path / "broken") == result and len(stub.asked) == 2 * asked
    assert (gathered(out) / "data.jsonl").read_bytes() == (gathered(tmp_path / "broken") / "data.jsonl").read_bytes()
    assert lines(out) == lines(tmp_path / "broken")


def test_the_cap_ends_the_run_and_a_higher_one_goes_on(tiny: TinyFactory, tmp_path: Path) -> None:
    """In the midst of a part: what was answered in it is not asked again, and nothing else has to be given anew."""
    price = {"dollars_a_million_in": 0.0, "dollars_a_million_out": 1e6}  # 10 an answer, 16 at most
    with Stub(even) as stub:
        whole = made(tiny, tmp_path, judge={"endpoint": stub.choice(), "max_tokens": 16})
        run(whole, tmp_path / "whole")
        asked, stub.asked = len(stub.asked), []
        poor = stub.choice(**price, most_dollars=100, concurrency=2)
        with pytest.raises(RunFailed, match=r"90 dollars are spent, .*could pass most_dollars=100"):
            run(made(tiny, tmp_path, judge={"endpoint": poor, "max_tokens": 16}), tmp_path / "run")
        assert len(stub.asked) == 9 and not list((gathered(tmp_path / "run") / "parts").iterdir())
        rich = stub.choice(**price, most_dollars=1e6, concurrency=5, timeout_s=9)
        result = run(made(tiny, tmp_path, judge={"endpoint": rich, "max_tokens": 16}), tmp_path / "run")
        assert len(stub.asked) == asked and result["books"]["judge"]["dollars"] == 10 * asked
        with pytest.raises(UserError, match=r"holds another run \(its stages.gather.judge.max_tokens is 16, not 17\)"):
            run(made(tiny, tmp_path, judge={"endpoint": rich, "max_tokens": 17}), tmp_path / "run")
    data = [gathered(tmp_path / name) / "data.jsonl" for name in ("whole", "run")]
    assert data[0].read_bytes() == data[1].read_bytes()


def rewriting(body: dict[str, Any], _: int) -> Said:
    """A refiner that gets every third number wrong, and has its moods; a judge of even numbers."""
    prompt = body["messages"][0]["content"]
    if "<response>" in prompt:
        return even(body, 0)
    number = int(between(prompt, "original_answer"))
    assert between(prompt, "original_reasoning").startswith("we 加 ") and "Write all of it in English" in prompt
    if number == 2:
        return chat("I would rather not.")
    summary = f"The number is\n{number + (number == 4)}"
    return chat(f"<reasoning>\nI add.\n</reasoning>\n<summary>\n{summary}\n</summary>")


@pytest.mark.parametrize("unrefined", ["nothing", "original"])
def test_what_a_model_rewrites_has_to_pass_again(tiny: TinyFactory, tmp_path: Path, unrefined: str) -> None:
    """The judge reads a response's last line alone here, as the stub's is a number."""

    def last_line(body: dict[str, Any], number: int) -> Said:
        prompt = body["messages"][0]["content"]
        if "<response>" not in prompt:
            return rewriting(body, number)
        response = between(prompt, "response").split("\n")[-1]
        return chat(json.dumps({"why": "parity", "correct": int(response) % 2 == 0}))

    with Stub(last_line) as stub:
        both = {"judge": {"endpoint": stub.choice()}, "refine": {"endpoint": stub.choice()}}
        result = run(made(tiny, tmp_path, unrefined=unrefined, questions=40, **both), tmp_path / "run")
    rows = read(gathered(tmp_path / "run") / "data.jsonl")
    refined = [row for row in rows if row.response.startswith("<think>\nI add.\n</think>\n\nThe number is\n")]
    judged = [row for row in refined if int(row.messages[0].content.split()[-1][:-1]) % 3]
    assert judged and {int(row.response.split("\n")[-1]) for row in judged} <= {0, 6}, "4 was rewritten as 5"
    assert all(row.tokens == len(row.response.encode()) + 1 for row in refined), "bytes, and the end"
    out = tmp_path / "run"
    assert total(out, "refined") == len(refined) and set(result["books"]) == {"judge", "refine"}
    if unrefined == "nothing":
        assert rows == refined
        assert total(out, "dropped/refined judge") > 0 and total(out, "dropped/not refined") > 0
    else:
        others = {answer(row.response) for row in rows if row not in refined}
        assert others == {2, 4} and total(out, "original") == len(rows) - len(refined)
        assert all("we 加" in row.response for row in rows if row not in refined)


def test_models_here_judge_and_refine_alike_in_every_run(tiny: TinyFactory, tmp_path: Path) -> None:
    """A random judge gives no verdict, a random refiner no rewriting: what they are asked about does not pass."""
    longer = str(tiny("qwen3", max_position_embeddings=8192))
    recipe = made(
        tiny, tmp_path, task={"countdown": 1.0, prompts(tmp_path): 1.0}, unrefined="original", samples=2,
        questions=18,
        judge={"model": f"model:{longer}", "max_tokens": 4}, refine={"model": "base", "max_tokens": 4},
    )  # fmt: skip
    run(recipe, tmp_path / "whole")
    rows = read(gathered(tmp_path / "whole") / "data.jsonl")
    assert {row.task for row in rows} == {"countdown", "prompts"}
    of_prompts = [row for row in rows if row.task == "prompts"]
    assert all(int(row.messages[0].content.split()[-1][:-1]) % 3 == 0 for row in of_prompts), "those without reference"
    assert total(tmp_path / "whole", "dropped/judge failed") == total(tmp_path / "whole", "judge/asked") / 2 > 0
    assert total(tmp_path / "whole", "original") == len(rows) and "refined" not in lines(tmp_path / "whole")[0]
    with pytest.raises(Killed):
        run(recipe, tmp_path / "broken", KillAt(1))
    run(recipe, tmp_path / "broken")
    one, two = gathered(tmp_path / "whole"), gathered(tmp_path / "broken")
    assert (one / "data.jsonl").read_bytes() == (two / "data.jsonl").read_bytes()
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


def test_another_judge_is_another_input(tiny: TinyFactory, tmp_path: Path) -> None:
    judge = tmp_path / "judge"
    shutil.copytree(tiny("qwen3", max_position_embeddings=8192), judge)
    recipe = made(tiny, tmp_path, questions=6, judge={"model": str(judge), "max_tokens": 4})
    notes: list[str] = []

    class Notes(KillAt):
        def note(self, text: str) -> None:
            notes.append(text)

    run(recipe, tmp_path / "run")
    run(recipe, tmp_path / "run", Notes(99))
    assert notes == ["stage gather is finished"]
    config = json.loads((judge / "config.json").read_text())
    (judge / "config.json").write_text(json.dumps({**config, "rope_theta": 7.0}))
    run(recipe, tmp_path / "run", Notes(99))
    assert any("what stage gather starts from has changed (data)" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"judge": {"endpoint": {"url": "http://h/v1", "model": "m", "key": "NO_SUCH_KEY"}}}, "has no NO_SUCH_KEY"),
        ({"judge": {"model": "gone"}}, "no file 'gone', nor a stage of that name"),
        ({"refine": {"model": "gone"}}, "no file 'gone', nor a stage of that name"),
    ],
)
def test_what_cannot_be_asked_is_said_first(
    tiny: TinyFactory, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        run(made(tiny, tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stages_that_judge_come_before(tiny: TinyFactory, tmp_path: Path) -> None:
    recipe = made(tiny, tmp_path).model_dump()
    data = {**recipe["stages"]["gather"], "judge": {"model": "gather"}}
    with pytest.raises(UserError, match="'second' reads 'gather', which does not make that before it"):
        validate({**recipe, "stages": {**recipe["stages"], "second": data}})
    learns = {"kind": "sft", "data": ["pairs"]}
    pairs = {"kind": "compare", "judge": {"model": "base"}}
    with pytest.raises(UserError, match="'second' reads 'pairs', which does not make that before it"):
        validate({**recipe, "stages": {"pairs": pairs, "second": learns}})


def test_refiners_answers_are_read_strictly() -> None:
    whole = "<reasoning>I add.</reasoning>\n<summary>\nIt is 4.\n</summary>"
    assert parts_of(whole) == parts_of(f"\n{whole}\n") == ("I add.", "It is 4.")
    for text in (
        "", whole.replace("I add.", " "), whole + whole, f"Here it is: {whole}", whole.replace("I add.", "<think>I"),
        whole.replace("It is 4.", "</answer>"), whole.replace("</summary>", ""),
        "<summary>4</summary><reasoning>I</reasoning>", "<reasoning>I<summary>4</summary></reasoning>",
    ):  # fmt: skip
        assert parts_of(text) is None, text


def longer_is_better(body: dict[str, Any], _: int) -> Said:
    """By the number; by much where it is 3 more."""
    prompt = body["messages"][0]["content"]
    gap = int(between(prompt, "first_response")) - int(between(prompt, "second_response"))
    label = ("A>>B" if gap >= 3 else "A>B") if gap > 0 else ("B>>A" if gap <= -3 else "B>A")
    return chat(json.dumps({"why": "larger", "verdict": label}))


def test_pairs_are_compared_and_learned(tiny: TinyFactory, tmp_path: Path) -> None:
    with Stub(longer_is_better) as stub:
        stages = {
            "pairs": CompareStage(questions=34, pairs=2, max_tokens=6, judge={"endpoint": stub.choice()}),
            "helpful": RewardModelStage(data="pairs", batch=32, max_tokens=200, optimiser=OptimiserChoice(lr=1e-3)),
        }
        recipe = made(tiny, tmp_path).model_copy(update={"stages": stages})
        result = run(recipe, tmp_path / "run")
        asked = len(stub.asked)
        with pytest.raises(Killed):
            run(recipe, tmp_path / "broken", KillAt(1))
        assert run(recipe, tmp_path / "broken") == result and len(stub.asked) == 2 * asked
    folder = tmp_path / "run/stages/01-pairs"
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    assert rows and all(answer(row["chosen"]) - answer(row["rejected"]) >= 3 and row["margin"] == 2 for row in rows)
    counts = steady(folder / "metrics.jsonl")
    assert [line["asked"] for line in counts] == [16, 16, 2]
    for line in counts:
        assert line["kept"] + line.get("dropped/alike", 0) + line.get("dropped/same", 0) == 2 * line["asked"]
    judged = sum(line["kept"] + line.get("dropped/alike", 0) for line in counts)
    assert 4 * judged == sum(line["compare/asked"] for line in counts) >= asked, "equal pairs are asked about once"
    state = json.loads((folder / "stage.json").read_text())["result"]
    assert state["pairs"] == len(rows) and state["books"]["compare"]["requests"] == asked
    assert (folder / "data.jsonl").read_bytes() == (tmp_path / "broken/stages/01-pairs/data.jsonl").read_bytes()
    assert result["asked"] > 0 and (tmp_path / "run/stages/02-helpful/model/reward.json").exists()


def test_a_judge_that_always_likes_the_first_place_leaves_no_pair(tiny: TinyFactory, tmp_path: Path) -> None:
    with Stub(lambda *_: chat('{"why": "first", "verdict": "A>>B"}')) as stub:
        stages = {"pairs": CompareStage(questions=8, max_tokens=6, judge={"endpoint": stub.choice()})}
        with pytest.raises(UserError, match="'pairs' kept none of its pairs; ask more questions"):
            run(made(tiny, tmp_path).model_copy(update={"stages": stages}), tmp_path / "run")


def pair(chosen: int, rejected: int) -> dict[str, Any]:
    return {"chosen": "c" * chosen, "rejected": "r" * rejected}


def test_lengths_are_balanced_by_leaving_out_as_few_as_it_takes() -> None:
    rows = [pair(100, 50), pair(60, 50), pair(52, 50), pair(45, 50)]
    assert balanced(rows, 10.0) == rows
    # 257 : 200 is 28 % more; without the first 157 : 150 is 5 %, without the second too 97 : 100.
    assert balanced(rows, 0.05) == rows[1:] and balanced(rows, 0.0) == rows[2:]
    shorter = [pair(50, 100), pair(50, 60), pair(50, 52), pair(50, 45)]
    assert balanced(shorter, 0.0) == shorter[2:]
    assert balanced([pair(9, 1)], 0.1) == [] == balanced([], 0.1)
