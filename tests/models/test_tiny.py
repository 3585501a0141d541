"""The embedded family: what ships inside the package."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aha.evaluation.evaluate import evaluate
from aha.models.loading import PACKAGED, TINY, load
from aha.models.tiny import tokenizer as tiny_tokenizer
from aha.models.tiny import web
from aha.pipeline.context import dialogue_of, engine_of
from aha.runtime import Runtime
from aha.tasks.table import make_task
from aha.types import Sampling

SIZES = {"tiny": (1e6, 3e6), "tiny-small": (0.3e6, 0.8e6)}


def folder(name: str) -> Path:
    return PACKAGED / TINY[name]


def test_the_package_stays_small() -> None:
    assert sum(f.stat().st_size for name in TINY for f in folder(name).iterdir()) < 10e6


@pytest.mark.parametrize("name", TINY)
def test_plain_transformers_loads_it(name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder(name))
    assert model.config.model_type == "qwen3"
    low, high = SIZES[name]
    assert low <= sum(p.numel() for p in model.parameters()) <= high
    tokenizer = AutoTokenizer.from_pretrained(folder(name))
    talk = [{"role": "user", "content": "Compute 2+2."}]
    prompt = tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    assert prompt == "User: Compute 2+2.\nAssistant:"


@pytest.mark.parametrize("name", TINY)
def test_numbers_and_tags_are_single_tokens(name: str) -> None:
    tokenizer = load(name).tokenizer
    for text in [*map(str, range(100)), *tiny_tokenizer.TAGS, tiny_tokenizer.END]:
        assert len(tokenizer.encode(text, add_special_tokens=False)) == 1, text
    assert len(tokenizer.encode("13*5=65", add_special_tokens=False)) == 5


@pytest.mark.parametrize("text", ["3*5=15, 15+7=22 yes!", "等等，错了", "naïve 🙂 \n\t  x", "<think> 1 </think>"])
def test_any_text_round_trips(text: str) -> None:
    tokenizer = load("tiny").tokenizer
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_pages_are_of_mixed_quality_and_deterministic() -> None:
    pages = [web.document(random.Random(i)) for i in range(2000)]
    assert pages == [web.document(random.Random(i)) for i in range(2000)]
    tagged = sum("</think><answer>" in page for page in pages) / len(pages)
    turned = sum(any(w in page for w in ("wait", "等等")) for page in pages) / len(pages)
    quit_ = sum(any(w in page for w in ("give up", "too hard", "not sure", "放弃", "太难", "不确定")) for page in pages)
    assert 0.2 < tagged < 0.6 and 0.02 < turned < 0.4 and quit_ / len(pages) > 0.15


@pytest.mark.slow
def test_what_the_base_model_shows() -> None:
    """1,000 test problems at temperature 1: a base model that tries, calculates well, and seldom gets there."""
    torch.set_num_threads(2)
    loaded = load("tiny")
    engine = engine_of(loaded, Runtime("cpu", torch.float32, 2), 512)
    figures = evaluate(
        engine, dialogue_of(loaded, "auto"), make_task("countdown"), problems=1000, samples=1,
        sampling=Sampling(320), seed=0,
    ).figures  # fmt: skip
    assert 0.10 <= float(figures["pass@1"] or 0) <= 0.25
    assert 0.30 <= float(figures["format"] or 0) <= 0.90
    assert float(figures["arithmetic_right"] or 0) >= 0.99
