"""The native engine while it runs: prompts that come later, and weights that arrive in the middle of samples."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from test_native import assert_same, engine_of
from transformers import AutoModelForCausalLM

from aha.models.loading import load
from aha.types import Completion, Prompt, Sampling

LONG = tuple(i * 7 % 199 for i in range(70))  # of a length that its samples share
LONGER = tuple(i * 11 % 199 for i in range(150))
PROMPTS = [
    Prompt((5, 8, 13), 3, 1), Prompt(LONG, 4, 2), Prompt((7,), 1, 3), Prompt(LONGER, 3, 4), Prompt(LONG[:66], 2, 5),
    Prompt(LONGER[:90], 2, 6), Prompt((100, 3), 5, 7),
]  # fmt: skip
SAMPLING = Sampling(20)


def together(found: Sequence[tuple[int, int, Completion]], prompts: Sequence[Prompt]) -> list[list[Completion]]:
    """The completions of a stream by prompt and sample."""
    done = {(place, sample): completion for place, sample, completion in found}
    assert len(done) == len(found) == sum(p.n for p in prompts)
    return [[done[i, s] for s in range(p.n)] for i, p in enumerate(prompts)]


def changed(folder: Path, seed: int) -> dict[str, torch.Tensor]:
    """Other weights of the same model."""
    torch.manual_seed(seed)
    return {n: w + 0.05 * torch.randn_like(w) for n, w in load(str(folder)).model.state_dict().items()}


def at_step(number: int, do: Callable[[], None]) -> Callable[[int], Sequence[Prompt]]:
    """A source of no prompts that does something once, at its call of this number."""
    calls = iter(range(1 << 30))

    def more(_: int) -> Sequence[Prompt]:
        if next(calls) == number:
            do()
        return ()

    return more


@pytest.mark.parametrize("slots", [2, 5, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_prompts_that_come_while_others_run_are_sampled_as_ever(arch: Path, slots: int, seed: int) -> None:
    """Whenever they come, and though a longer one needs more room than there is."""
    expected = engine_of(arch).generate(PROMPTS, SAMPLING)
    chance, later, frees = random.Random(seed), list(PROMPTS[1:]), list[int]()

    def more(free: int) -> Sequence[Prompt]:
        frees.append(free)
        return [later.pop(0) for _ in range(min(len(later), chance.choice((0, 0, 1, 2))))] if later else ()

    engine = engine_of(arch, slots)
    found: list[tuple[int, int, Completion]] = []
    base = 0
    while base < len(PROMPTS):  # a stream ends where nothing runs and nothing has come
        first = [PROMPTS[0]] if not base else [later.pop(0)]
        stream = list(engine.stream(first, SAMPLING, more))
        found += [(base + place, sample, completion) for place, sample, completion in stream]
        base = len(PROMPTS) - len(later)
    assert_same(together(found, PROMPTS), expected)
    assert all(c.earlier == () for _, _, c in found)
    assert max(frees) <= slots and min(frees) < slots


def test_a_prompt_that_cannot_be_sampled_is_refused_when_it_comes(tiny) -> None:
    engine = engine_of(tiny("qwen2"), 2)
    with pytest.raises(ValueError, match="empty prompt"):
        list(engine.stream([PROMPTS[0]], SAMPLING, lambda free: [Prompt((), 1, 1)]))


@pytest.mark.parametrize("slots", [3, 64])
def test_weights_that_arrive_in_the_middle(tiny, slots: int) -> None:
    """What runs goes on: each token has the log-prob that its version gives it after the keys of those before."""
    folder = tiny("qwen3")
    engine = engine_of(folder, slots, frozenset())
    first, second = changed(folder, 1), changed(folder, 2)
    engine.publish(first, 4)
    stream = engine.stream(PROMPTS, Sampling(9), at_step(4, lambda: engine.publish(second, 5)))
    found = together(list(stream), PROMPTS)
    seen = {(*c.earlier, (c.policy_version,)) for group in found for c in group}
    assert ((4, 5), (5,)) in seen, "five tokens by the first weights, the rest by the second"
    assert slots > 3 or ((5,),) in seen, "those that have begun later are of the second alone"
    models = {v: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for v in (4, 5)}
    for version, weights in ((4, first), (5, second)):
        models[version].load_state_dict(weights)
    for prompt, group in zip(PROMPTS, found, strict=True):
        for completion in group:
            assert completion.oldest == completion.versions[0]
            np.testing.assert_allclose(completion.logprobs, replayed(models, prompt, completion), atol=2e-5)


@torch.no_grad()
def replayed(models: dict[int, torch.nn.Module], prompt: Prompt, completion: Completion) -> list[float]:
    """Log-probs of a completion's tokens, each by the model of its version with the keys that earlier ones left."""
    versions = completion.versions
    past, ids, logprobs = None, torch.tensor([prompt.ids]), []
    reader = completion.oldest
    for token, version in zip(completion.ids, versions, strict=True):
        # the token before is read by the weights that draw this one; the prompt by those that have read it
        out = models[reader if past is None else version](ids, past_key_values=past, use_cache=True)
        past = out.past_key_values
        logprobs.append(float(torch.log_softmax(out.logits[0, -1].double(), -1)[token]))
        ids = torch.tensor([[token]])
    return logprobs


def test_a_prompt_of_which_no_sample_has_begun_is_read_again(tiny) -> None:
    """It was read together with one that runs, and waits for a slot."""
    engine = engine_of(tiny("qwen2"), 2, frozenset())
    weights = changed(tiny("qwen2"), 3)
    prompts = [Prompt((5, 8, 13), 2, 1), Prompt((7, 9), 2, 2), Prompt(LONG, 3, 3)]
    found = together(list(engine.stream(prompts, Sampling(6), at_step(2, lambda: engine.publish(weights, 1)))), prompts)
    assert [[(c.earlier, c.policy_version) for c in group] for group in found] == [
        [(((0, 3),), 1)] * 2, [((), 1)] * 2, [((), 1)] * 3,
    ]  # fmt: skip
    fresh = engine_of(tiny("qwen2"), 2, frozenset())
    fresh.publish(weights, 1)
    assert_same(found[1:], fresh.generate(prompts[1:], Sampling(6)))


def test_a_prompt_that_older_weights_have_read_says_so(tiny) -> None:
    """Of a shared prompt with samples that still wait, the later ones carry the version that has read it."""
    engine = engine_of(tiny("qwen2"), 2, frozenset())
    weights = changed(tiny("qwen2"), 3)
    stream = engine.stream([Prompt(LONG, 3, 3)], Sampling(6), at_step(2, lambda: engine.publish(weights, 1)))
    [group] = together(list(stream), [Prompt(LONG, 3, 3)])
    assert [(c.earlier, c.policy_version) for c in group] == [(((0, 3),), 1)] * 2 + [(((0, 0),), 1)]
    assert [c.oldest for c in group] == [0, 0, 0] and group[2].versions == (1,) * 6


def test_many_versions_pass_through_a_long_sample(tiny) -> None:
    engine = engine_of(tiny("qwen2"), 2, frozenset())
    state = engine.model.state_dict()
    calls = iter(range(1 << 30))

    def more(_: int) -> Sequence[Prompt]:
        number = next(calls)
        if number and number % 3 == 0:
            engine.publish(dict(state), number // 3)
        return ()

    [(_, _, completion)] = list(engine.stream([Prompt((5, 8), 1, 1)], Sampling(20), more))
    assert completion.earlier == ((0, 4), (1, 3), (2, 3), (3, 3), (4, 3), (5, 3)) and completion.policy_version == 6
    assert len(completion.versions) == 20
