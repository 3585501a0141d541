"""lm-eval and inspect-ai against the server. AHA_HARNESS_PYTHON names the interpreter of an environment that has both:

python -m venv .harness && .harness/bin/pip install 'lm_eval[api]==0.4.13' inspect-ai openai transformers
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from serving_models import process
from transformers import AutoModelForCausalLM, AutoTokenizer

from aha.models.loading import resolve

PYTHON = os.environ.get("AHA_HARNESS_PYTHON", "")
SECONDS = 900
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="AHA_HARNESS_PYTHON is not set")]

QUESTION = "Using each of 7, 2, {} once and + - *, make {}."
SAMPLED = """task: sampled
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
repeats: 4
generation_kwargs: {{do_sample: true, temperature: 1.2, max_gen_toks: 120, until: ["\\n\\n"]}}
metric_list: [{{metric: exact_match}}]
filter_list: [{{name: all, filter: [{{function: take_first_k, k: 4}}]}}]
"""
CHOSEN = """task: chosen
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: label
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""
INSPECTED = """from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def q():
    return Task(dataset=[Sample(input={question!r}, target="2*10+7")], solver=generate(), scorer=includes(), epochs=4)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with process() as (_, url):
        yield url


def run(folder: Path, *command: str, **environment: str) -> None:
    names = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "none", "HF_HOME": str(folder / "hf")}
    ran = subprocess.run(
        [PYTHON, *command], cwd=folder, capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, **names, **environment},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]


def lm_eval(folder: Path, task: str, rows: list[dict[str, Any]], *options: str) -> list[dict[str, Any]]:
    """The samples that lm-eval logs for a task of `rows`."""
    name = task.split()[1]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / f"{name}.yaml").write_text(task.format(rows=folder / "rows.jsonl"))
    run(
        folder,
        "-m",
        "lm_eval",
        "run",
        "--tasks",
        name,
        "--include_path",
        ".",
        "--output_path",
        "out",
        "--log_samples",
        *options,
    )
    [log] = (folder / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_lm_eval_samples(url: str, tmp_path: Path) -> None:
    """It sends the same body with the same seed k times: the samples differ all the same."""
    rows = [{"question": QUESTION.format(n, 2 * n + 7), "answer": f"2*{n}+7"} for n in (10, 11, 12)]
    arguments = f"model=tiny,base_url={url}/v1/chat/completions,num_concurrent=4"
    options = ("--model", "local-chat-completions", "--model_args", arguments, "--apply_chat_template")
    found = lm_eval(tmp_path, SAMPLED, rows, *options)
    assert len(found) == 3
    for sample in found:
        assert len(sample["resps"][0]) == 4 and len(set(sample["resps"][0])) > 1
        assert "<" not in "".join(sample["resps"][0])


def test_lm_eval_log_likelihoods(url: str, tmp_path: Path) -> None:
    """Those of plain `transformers` to 1e-3."""
    context = f"User: {QUESTION.format(10, 27)}\nAssistant:"
    choices = [
        "<think> 2*10=20: 20+7=27 yes!</think><answer>2*10+7</answer>",
        "<think> i guess.</think><answer>7</answer>",
    ]
    rows = [{"question": context, "choices": choices, "label": 0}]
    arguments = f"model=tiny,base_url={url}/v1/completions,num_concurrent=2,tokenizer={resolve('tiny')}"
    [sample] = lm_eval(tmp_path, CHOSEN, rows, "--model", "local-completions", "--model_args", arguments)
    stock = AutoModelForCausalLM.from_pretrained(resolve("tiny"), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny"))
    start = len(tokenizer.encode(context))
    for choice, [[logprob, _]] in zip(choices, sample["resps"], strict=True):
        ids = tokenizer.encode(context + choice)
        with torch.no_grad():
            logprobs = torch.log_softmax(stock(input_ids=torch.tensor([ids])).logits[0].double(), -1)
        expected = sum(float(logprobs[at - 1, ids[at]]) for at in range(start, len(ids)))
        assert float(logprob) == pytest.approx(expected, abs=1e-3)


def test_inspect_ai(url: str, tmp_path: Path) -> None:
    """Epochs with one seed differ, and thinking comes apart from answers."""
    (tmp_path / "q.py").write_text(INSPECTED.format(question=QUESTION.format(10, 27)))
    command = ["-m", "inspect_ai", "eval", "q.py", "--model", "openai-api/aha/tiny", "--seed", "1234"]
    command += ["--temperature", "1.2", "--max-tokens", "120", "--log-dir", "logs", "--log-format", "json"]
    run(tmp_path, *command, "--display", "plain", AHA_API_KEY="none", AHA_BASE_URL=f"{url}/v1")
    [log] = (tmp_path / "logs").glob("*.json")
    samples = json.loads(log.read_text())["samples"]
    said = [sample["output"]["choices"][0]["message"]["content"] for sample in samples]
    assert len(said) == 4 and len({json.dumps(content) for content in said}) > 1
    kinds = {part["type"] for content in said if isinstance(content, list) for part in content}
    assert "reasoning" in kinds
