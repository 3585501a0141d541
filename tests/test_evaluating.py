"""`aha eval` and `aha compare` whole: models here and behind an endpoint, a judge, a kill and the same bits after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aha import cli
from aha.engines import openai
from aha.errors import UserError
from aha.evaluating import Wishes, endpoint_choice, evaluate_models
from aha.tasks.table import make_task
from stub_endpoint import Said, Stub, chat
from tiny_models import TinyFactory

SMALL = ["-n", "3", "--problems", "4", "--max-tokens", "6", "--template", "short", "--threads", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(openai, "FIRST_WAIT_S", 0.01)
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aha", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def answered(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def aime(tmp_path: Path) -> str:
    rows = [{"problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 4)]
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(tmp_path / "aime.jsonl")


def test_models_side_by_side(
    tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [str(tiny("llama")), str(tiny("qwen3"))]
    arguments = ["eval", *models, "--suite", "tiny", *SMALL, "--out", "evals"]
    assert call(monkeypatch, *arguments, "--json") == 0
    found = answered(capsys)
    assert [one["model"] for one in found["results"]] == models and all(one["finished"] for one in found["results"])
    assert {row["task"] for row in found["differences"]} == set(found["results"][0]["tasks"])
    folders = [Path(one["folder"]) for one in found["results"]]
    assert {folder.parent.name for folder in folders} == {"evals"} and folders[0] != folders[1]
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert names == {".lock", "settings.json", "samples.parquet", "results.json", "table.md", "run.json"}
        assert pq.read_table(folder / "samples.parquet").num_rows == 5 * 4 * 3
    assert call(monkeypatch, *arguments) == 0  # nothing is drawn again
    shown = capsys.readouterr().out
    assert "**countdown**, pass@1 (4 problems x 3)" in shown and "difference, points" in shown
    assert call(monkeypatch, "compare", *map(str, folders), "--json") == 0
    assert answered(capsys)["differences"] == found["differences"]


KILLED = """
import os, signal
from aha.evaluation.store import Store
from aha import cli
add = Store.add
def once_more(store, record):
    add(store, record)
    if len(store._records) == 17:
        os.kill(os.getpid(), signal.SIGKILL)
Store.add = once_more
cli.main()
"""


def test_a_killed_evaluation_ends_with_the_same_bits(
    tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tiny("llama"))
    arguments = ["eval", model, "--task", "arithmetic", *SMALL, "--problems", "10", "--rows", "6", "--json"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments, "--out", "killed"],
        timeout=300, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = (tmp_path / "killed").iterdir()
    journal = (folder / "samples.jsonl").read_bytes()
    assert journal.count(b"\n") == 17 and not (folder / "results.json").exists()
    (folder / "samples.jsonl").write_bytes(journal[:-40])  # and the last line is cut
    assert call(monkeypatch, *arguments, "--out", "killed") == call(monkeypatch, *arguments, "--out", "whole") == 0
    (whole,) = (tmp_path / "whole").iterdir()
    assert whole.name == folder.name
    for name in ("results.json", "table.md", "settings.json", "samples.parquet"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    first, second = capsys.readouterr().out.splitlines()
    assert {**json.loads(first), "folder": ""} == {**json.loads(second), "folder": ""}


def solves(body: dict[str, Any], number: int) -> Said:
    """Every fourth answer is wrong; the thinking comes apart."""
    twice = int(body["messages"][-1]["content"].split()[2]) * 2
    usage = {"prompt_tokens": 9, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 12}}
    said = chat(f"It is \\boxed{{{twice + (number % 4 == 3)}}}.", reasoning_content="\\boxed{1}?")
    return Said({**said.body, "usage": usage})


def test_a_model_behind_an_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Stub(solves) as stub:
        arguments = ["eval", f"{stub.url}#r1", "--suite", "aime24", "--data", aime(tmp_path), "-n", "4", "--json"]
        assert call(monkeypatch, *arguments, "--endpoint", "concurrency=1") == 0
        assert len(stub.asked) == 12
        body = stub.asked[0]
        assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("r1", 0.6, 0.95, 32768)
        assert [m["role"] for m in body["messages"]] == ["user"] and "seed" not in body
        assert body["messages"][0]["content"].endswith("put your final answer within \\boxed{}.")
        figures = answered(capsys)["results"][0]["tasks"]["aime"]
        assert (figures["pass@1"], figures["pass@k"], figures["cons@k"]) == (0.75, 1, 1)
        assert (figures["mean_length"], figures["mean_thinking"], figures["format_r1"]) == (20, 12, 1)
        assert call(monkeypatch, *arguments, "--endpoint", "concurrency=3") == 0  # how it is reached changes nothing
        assert len(stub.asked) == 12 and answered(capsys)["results"][0]["finished"]


def test_a_server_may_take_answers_out_of_their_tags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task("arithmetic")
    gold = {task.problem("test", i).messages[0].content: task.problem("test", i).reference for i in range(4)}
    with Stub(lambda body, number: chat(gold[body["messages"][0]["content"]], reasoning_content="so")) as stub:
        for asked in (["--task", "arithmetic"], ["--suite", f"{tiny_suite()}:sums"]):
            assert call(monkeypatch, "eval", f"{stub.url}#m", *asked, "-n", "1", "--problems", "4", "--json") == 0
            assert '"pass@1": 1.0' in capsys.readouterr().out


def tiny_suite() -> Path:
    """A file with a suite of one embedded task, judged on summaries."""
    Path("mine.py").write_text("from aha.evaluation.suites import Suite\nsums = Suite('sums', {'arithmetic': ''}, 1)\n")
    return Path("mine.py")


def test_an_endpoint_that_breaks_off_is_asked_for_the_rest_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [True]

    def sometimes(body: dict[str, Any], number: int) -> Said:
        return Said({"error": {"message": "not now"}}, 400) if broken[0] and number % 3 == 2 else solves(body, 0)

    with Stub(sometimes) as stub:
        arguments = ["eval", f"{stub.url}#r1", "--suite", "aime24", "--data", aime(tmp_path), "-n", "4", "--json"]
        assert call(monkeypatch, *arguments) == 1
        shown = capsys.readouterr()
        (result,) = json.loads(shown.out)["results"]
        assert (result["finished"], result["unanswered"]) == (False, 4) and "400 not now" in result["why"][0]
        assert result["tasks"]["aime"]["pass@1"] == pytest.approx(8 / 12)  # of what was asked
        assert "4 samples have no response" in shown.err
        broken[0] = False
        assert call(monkeypatch, *arguments) == 0
        (result,) = answered(capsys)["results"]
        assert (result["finished"], result["tasks"]["aime"]["pass@1"], len(stub.asked)) == (True, 1, 16)


def test_a_cap_on_the_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Stub(solves) as stub:
        arguments = [
            "eval", f"{stub.url}#r1", "--suite", "aime24", "--data", aime(tmp_path), "-n", "4", "--max-tokens", "100",
            "--endpoint", "dollars_a_million_out=1000", "--endpoint", "concurrency=1",
        ]  # fmt: skip
        assert call(monkeypatch, *arguments, "--endpoint", "most_dollars=0.25") == 1
        assert "could pass most_dollars=0.25" in capsys.readouterr().err
        asked = len(stub.asked)
        assert 0 < asked < 12  # 2 cents each
        assert call(monkeypatch, *arguments, "--endpoint", "most_dollars=1", "--json") == 0
        assert len(stub.asked) == 12 and answered(capsys)["results"][0]["finished"]


def test_a_judge_compares(
    tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"Name fruit {i}.", "output": "A pear."} for i in range(3)]
    (tmp_path / "alpaca.json").write_text(json.dumps(rows), encoding="utf-8")

    def own_first(body: dict[str, Any], number: int) -> Said:
        prompt = body["messages"][-1]["content"]
        return chat(json.dumps({"why": "", "verdict": "B>A" if "<first_response>\nA pear." in prompt else "A>B"}))

    with Stub(own_first) as stub:
        arguments = ["eval", str(tiny("llama")), "--suite", "alpaca-eval", "--data", "alpaca.json", *SMALL, "--json"]
        judge = ["--judge", f"{stub.url}#judge", "--judge-endpoint", "concurrency=2"]
        assert call(monkeypatch, *arguments, *judge) == 0
        figures = answered(capsys)["results"][0]["tasks"]["alpaca-eval"]
        assert figures["win_rate"] == 1 and figures["wins"] == 9 and stub.asked[0]["temperature"] == 0
        assert call(monkeypatch, *arguments) == 2
        assert "name one with --judge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(suite="tiny", task="countdown"), "two things to ask"),
        (Wishes(task="countdown", data="x.jsonl"), "with --task write them as TASK:FILE_OR_HUB_ID"),
        (Wishes(suite="tin"), "did you mean 'tiny'"),
        (Wishes(suite="tiny", endpoint=("concurrency=2",)), "is of an endpoint, and there is none"),
        (Wishes(suite="tiny", judge="tiny-small"), "has no judge"),
        (Wishes(suite="tiny", problems=0), "say how many with --problems"),
        (Wishes(suite="tiny", k=9), "k = 9 needs as many samples, and 8"),
    ],
)
def test_what_cannot_be_asked(wishes: Wishes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        evaluate_models(["tiny-small"], wishes)
    assert message in str(error.value) and not list(tmp_path.iterdir())


def test_an_endpoint_needs_a_models_name() -> None:
    with pytest.raises(UserError, match="does not say which model; write http://host/v1#NAME"):
        evaluate_models(["http://host/v1"], Wishes(suite="tiny"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["concurrency"], "is no KEY=VALUE"),
        (["concurency=2"], "endpoint setting concurency"),
        (["key=sk-123"], "endpoint setting key: give the NAME of an environment variable"),
        (["most_dollars=5"], "needs the prices"),
    ],
)
def test_settings_of_an_endpoint(settings: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        endpoint_choice({"url": "https://host/v1", "model": "m"}, settings)
    assert message in str(error.value) and "sk-123" not in str(error.value)


def test_endpoint_settings_are_read() -> None:
    choice = endpoint_choice(
        {"url": "https://host/v1", "model": "m"}, ["key=MY_KEY", "concurrency=3", "extra={reasoning_effort: low}"]
    )
    assert (choice.key, choice.concurrency, choice.extra) == ("MY_KEY", 3, {"reasoning_effort": "low"})


def test_a_question_that_a_model_cannot_read(tiny: TinyFactory, tmp_path: Path) -> None:
    (tmp_path / "aime.jsonl").write_text(json.dumps({"problem": "Long? " * 100, "answer": "1"}), encoding="utf-8")
    wishes = Wishes(suite="aime24", data="aime.jsonl", samples=1, template="short")
    with pytest.raises(UserError, match=r"a question has 6\d\d tokens, and .* reads 256"):
        evaluate_models([str(tiny("llama"))], wishes)
    (tmp_path / "aime.jsonl").write_text(json.dumps({"problem": "Short?", "answer": "1"}), encoding="utf-8")
    (result,) = evaluate_models([str(tiny("llama"))], wishes)
    assert result.results["notes"] == {"max_tokens": 256 - 94} and result.results["settings"]["max_tokens"] == 32768
