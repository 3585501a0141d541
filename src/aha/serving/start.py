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

import psutil
import torch
from transformers import PreTrainedTokenizerBase

from aha.errors import UserError
from aha.models.loading import load, load_tokenizer, resolve
from aha.runtime import Runtime
from aha.serving.auth import Keys
from aha.serving.engines import Facts, Wanted, facts_of, make_engine, make_guides
from aha.serving.loop import EngineLoop, Loop
from aha.serving.metrics import Metrics
from aha.serving.plan import Defaults
from aha.serving.prompt import ChatForm
from aha.serving.replicas import Replicas
from aha.serving.risk import RiskControl, read_policy
from aha.serving.service import Service, Settings
from aha.serving.vocabulary import Vocabulary

SHARE = {"cpu": 0.25, "cuda": 0.8}  # of the free memory, for keys and values
SMALL = 32 * 2**20  # bytes of weights: a processor's last cache holds fewer; of more, one engine uses all cores well
MOST_ENGINES = 8


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


def make_service(model: str, chosen: Runtime, engines: int, settings: Settings, options: Options) -> Service:
    """The service of a model by so many `engines`: of one in a thread of this process, of several in processes that run
    from here on and have to be stopped (`service.loop.stop()`). Raises UserError for what cannot be loaded."""
    metrics = Metrics()
    risk = RiskControl(read_policy(options.risk), metrics) if options.risk is not None else None
    wanted = Wanted(
        chosen.dtype_name, chosen.threads, settings.slots, options.room or _free(chosen.device), options.context
    )
    with contextlib.ExitStack() as stack:
        loop: Loop
        if engines > 1:
            replicas = Replicas(engines, model, options.template, wanted)
            stack.callback(replicas.stop)
            form = _form(load_tokenizer(model), options)
            facts = replicas.meet()
            vocabulary = Vocabulary(form.tokenizer, facts.limits.vocabulary)
            grammars, _ = make_guides(vocabulary, facts, form, torch.device("cpu"))
            loop = replicas
        else:
            loaded = load(model, chosen.device)
            form = _form(loaded.tokenizer, options)
            engine = make_engine(loaded, wanted)
            facts = facts_of(loaded, engine)
            vocabulary = Vocabulary(form.tokenizer, facts.limits.vocabulary)
            grammars, guides = make_guides(vocabulary, facts, form, engine.engine.device)
            loop = EngineLoop(engine, chosen.threads, guides)
        keys, defaults = Keys(options.keys), _defaults(facts, options)
        service = Service(settings, vocabulary, form, loop, facts, defaults, keys, grammars, risk, metrics)
        stack.pop_all()
    return service


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
