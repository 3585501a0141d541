"""From the options of `aha serve` to a service: how many engines there are, and what is loaded where.

service = make_service("tiny", chosen, engines_for("tiny", chosen), Settings("tiny"), Options())
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from transformers import PreTrainedTokenizerBase

from aha.engines.native.request import Limits
from aha.errors import UserError
from aha.models.loading import load, load_tokenizer, outline, resolve
from aha.runtime import Runtime
from aha.serving.auth import Keys
from aha.serving.engines import Facts, Wanted, defaults_of, facts_of, make_engine, make_guides
from aha.serving.guide import Forms
from aha.serving.loop import EngineLoop, Loop
from aha.serving.metrics import Metrics
from aha.serving.plan import Defaults
from aha.serving.prompt import ChatForm
from aha.serving.replicas import Replicas
from aha.serving.risk import RiskControl, read_policy
from aha.serving.service import Service, Settings
from aha.serving.vllm_drawing import Taught
from aha.serving.vllm_loop import VLLMLoop, greet
from aha.serving.vllm_meeting import Place, VLLMForms
from aha.serving.vocabulary import Vocabulary

SHARE = {"cpu": 0.25, "cuda": 0.8}  # of the free memory, for keys and values
SMALL = 32 * 2**20  # bytes of weights: a processor's last cache holds fewer; of more, one engine uses all cores well
MOST_ENGINES = 8
NO_BOUND = 1 << 62  # bytes: vLLM looks after its room by itself


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is served, beside the settings of the server. 0 and None: chosen by model and machine."""

    template: str = "auto"
    thinking: str = "auto"  # or "on", "off"
    forced: bool = True  # `<think>` at the end of a prompt
    temperature: float | None = None  # where a request does not say it
    top_p: float | None = None
    context: int = 0
    room: int = 0  # bytes of keys and values
    keys: Sequence[str] = ()
    risk: Path | None = None
    vllm: Place | None = None  # a server whose tokens are served; None: those of engines here


def engines_for(model: str, chosen: Runtime, asked: int = 0) -> int:
    """How many engines serve a model side by side: as `asked`, else as many as there are threads where it is small and
    runs on a CPU, else 1. Raises UserError where there cannot be several."""
    able = chosen.device == "cpu" and os.name == "posix"
    if asked > 1 and not able:
        raise UserError(f"--engines {asked} needs a CPU and processes of POSIX; leave it out")
    if asked or not able:
        return asked or 1
    folder = Path(resolve(model))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return max(1, min(chosen.threads, MOST_ENGINES)) if 0 < size <= SMALL else 1


class Made(NamedTuple):
    """What draws the tokens of a service, and what is known of its model."""

    form: ChatForm
    vocabulary: Vocabulary
    loop: Loop
    facts: Facts
    forms: Forms


def make_service(model: str, chosen: Runtime, engines: int, settings: Settings, options: Options) -> Service:
    """The service of a model by so many `engines`: of one in a thread of this process, of several in processes that run
    from here on and have to be stopped (`service.loop.stop()`); or by the vLLM server that `options` name. Raises
    UserError for what cannot be loaded, or is not there."""
    metrics = Metrics()
    risk = RiskControl(read_policy(options.risk), metrics) if options.risk is not None else None
    with contextlib.ExitStack() as stack:
        if options.vllm is not None:
            made = _by_vllm(model, settings, options, options.vllm)
        elif engines > 1:
            made = _by_several(model, engines, _wanted(chosen, settings, options), options, stack)
        else:
            made = _by_one(model, chosen, _wanted(chosen, settings, options), options)
        form, vocabulary, loop, facts, forms = made
        keys, defaults = Keys(options.keys), _defaults(facts, options)
        service = Service(settings, vocabulary, form, loop, facts, defaults, keys, forms, risk, metrics)
        stack.pop_all()
    return service


def _wanted(chosen: Runtime, settings: Settings, options: Options) -> Wanted:
    room = options.room or _free(chosen.device)
    return Wanted(chosen.dtype_name, chosen.threads, settings.slots, room, options.context)


def _by_one(model: str, chosen: Runtime, wanted: Wanted, options: Options) -> Made:
    """By an engine in a thread of this process."""
    loaded = load(model, chosen.device)
    form = _form(loaded.tokenizer, options)
    engine = make_engine(loaded, wanted)
    facts = facts_of(loaded, engine)
    vocabulary = Vocabulary(form.tokenizer, facts.limits.vocabulary)
    grammars, guides = make_guides(vocabulary, facts, form, engine.engine.device)
    return Made(form, vocabulary, EngineLoop(engine, chosen.threads, guides), facts, grammars)


def _by_several(model: str, engines: int, wanted: Wanted, options: Options, stack: contextlib.ExitStack) -> Made:
    """By engines in processes, that end with `stack`."""
    replicas = Replicas(engines, model, options.template, wanted)
    stack.callback(replicas.stop)
    form = _form(load_tokenizer(model), options)
    facts = replicas.meet()
    vocabulary = Vocabulary(form.tokenizer, facts.limits.vocabulary)
    grammars, _ = make_guides(vocabulary, facts, form, torch.device("cpu"))
    return Made(form, vocabulary, replicas, facts, grammars)


def _by_vllm(model: str, settings: Settings, options: Options, place: Place) -> Made:
    """By a vLLM server that runs: no weights are loaded here."""
    found = outline(model)
    form, vocabulary = _form(found.tokenizer, options), Vocabulary(found.tokenizer, found.vocabulary)
    met = greet(place, vocabulary, model)
    context = min(met.context, options.context or met.context)
    limits = Limits(found.vocabulary, context, settings.slots, NO_BOUND, 1, exact=True)
    facts = Facts(found.eos_ids, limits, defaults_of(found.generation))
    taught = Taught(vocabulary, found.eos_ids, form.tagged)
    loop = VLLMLoop(place, met, model, taught, slots=settings.slots, timeout_s=settings.timeout_s)
    return Made(form, vocabulary, loop, facts, VLLMForms(place, met.name))


def _form(tokenizer: PreTrainedTokenizerBase, options: Options) -> ChatForm:
    return ChatForm(tokenizer, options.template, options.thinking, forced=options.forced)


def _defaults(facts: Facts, options: Options) -> Defaults:
    """How requests are sampled that do not say it: as the options have it, else the model."""
    own = facts.defaults
    temperature = own.temperature if options.temperature is None else options.temperature
    top_p = own.top_p if options.top_p is None else options.top_p
    return dataclasses.replace(own, temperature=temperature, top_p=top_p)


def _free(device: str) -> int:
    """Bytes that keys and values may take."""
    if device.startswith("cuda"):
        return int(SHARE["cuda"] * torch.cuda.mem_get_info()[0])
    return int(SHARE["cpu"] * psutil.virtual_memory().available)
