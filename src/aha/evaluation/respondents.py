"""Who answers the questions of an evaluation: an engine with a model here, or a speaker, such as an endpoint.

    respondent = local(engine, dialogue, sampling, samples=16, seed=0, rows=512)
    for problem, sample, read in respondent.respond(problems, wanted): read().rollout

What one sample draws follows from the seed, its problem and its number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from aha.models.dialogue import Dialogue
from aha.models.templates import parse
from aha.protocols import Engine, Speaker
from aha.seeds import seed_of
from aha.types import Ask, Completion, Failed, Problem, Prompt, Reply, Rollout, Sampling

CLOSE = "</think>"
Wanted = frozenset[tuple[str, int]]  # a problem's id and the number of a sample


@dataclass(frozen=True, slots=True)
class Taken:
    """A response with its lengths in tokens, None where nobody counted them; `thinking` is a part of `tokens`.

    `bare`: its answer may have been taken out of its tags, as servers do.
    """

    rollout: Rollout
    tokens: int | None
    thinking: int | None
    bare: bool = False


Read = Callable[[], Taken | Failed]  # turns tokens into text, beside sampling
Responses = Iterator[tuple[Problem, int, Read]]


@dataclass(frozen=True, slots=True)
class Respondent:
    """`respond` gives the samples that are wanted of some problems, as they come; `together` are asked at once.

    An engine draws all of what is asked at once, also where some of it is there already: on one machine it then draws
    the same bits whenever it begins.
    """

    respond: Callable[[Sequence[Problem], Wanted], Responses]
    together: int


def local(
    engine: Engine, dialogue: Dialogue, sampling: Sampling, *, samples: int, seed: int, rows: int = 512
) -> Respondent:
    """An engine, asked for all samples of as many problems as fill `rows` rows."""

    def respond(problems: Sequence[Problem], wanted: Wanted) -> Responses:
        prompts = [Prompt(dialogue.prompt(p), samples, seed_of("evaluate", seed, p.id)) for p in problems]
        for place, sample, completion in engine.stream(prompts, sampling):
            problem = problems[place]
            if (problem.id, sample) in wanted:
                yield problem, sample, partial(_read, dialogue, problem, prompts[place].ids, completion)

    return Respondent(respond, max(1, rows // samples))


def _read(dialogue: Dialogue, problem: Problem, prompt_ids: tuple[int, ...], completion: Completion) -> Taken:
    rollout = dialogue.read(problem, prompt_ids, completion)
    opened = dialogue.opens_thinking(prompt_ids)
    return Taken(rollout, len(completion.ids), thinking_tokens(dialogue, rollout, opened=opened))


def thinking_tokens(dialogue: Dialogue, rollout: Rollout, *, opened: bool) -> int:
    """Tokens up to the end of `</think>`: all of them where the thinking never ends, none where there is none."""
    ids = rollout.completion.ids
    if CLOSE not in rollout.text:
        return len(ids) if opened or "<think>" in rollout.text else 0

    def holds(count: int) -> bool:
        return CLOSE in str(dialogue.tokenizer.decode(list(ids[:count]), skip_special_tokens=False))

    own = dialogue.tokenizer.get_vocab().get(CLOSE)  # many models have a token of it
    place = ids.index(own) if own in ids else len(ids)
    if place < len(ids) and not holds(place):
        return place + 1
    least, most = 0, place  # the fewest tokens that hold it are more than `least` and at most `most`
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if holds(middle) else (middle, most)
    return most


def spoken(speaker: Speaker, sampling: Sampling, *, samples: int, seed: int, requests: int) -> Respondent:
    """A speaker, asked for what is wanted alone, about so many requests at once. It keeps what it was answered."""

    def respond(problems: Sequence[Problem], wanted: Wanted) -> Responses:
        places = [(p, sample) for p in problems for sample in range(samples) if (p.id, sample) in wanted]
        asks = [Ask(p.messages, draw=seed_of("evaluate", seed, p.id, sample)) for p, sample in places]
        for (problem, sample), reply in zip(places, speaker(asks, sampling), strict=True):
            yield problem, sample, partial(_of_reply, problem, reply)

    return Respondent(respond, max(1, requests // samples))


def _of_reply(problem: Problem, reply: Reply | Failed) -> Taken | Failed:
    """A reply as a rollout without ids: its thinking in tags, closed unless the limit cut it off."""
    if isinstance(reply, Failed):
        return reply
    text = reply.text
    if reply.thinking:
        cut_off = reply.stop_reason == "length" and not text
        text = f"<think>{reply.thinking}" + ("" if cut_off else f"{CLOSE}{text}")
    rollout = Rollout(problem, (), Completion((), (), reply.stop_reason, 0), text, parse(text))
    return Taken(rollout, reply.tokens, reply.thinking_tokens, bare=True)
