"""The sections that stages are configured by: sampling, algorithms, optimisers, evaluations, and models that are asked
for text as judges and refiners, here or behind an endpoint.

    judge: {model: dev2}
    judge: {endpoint: {url: https://api.deepseek.com/v1, model: deepseek-chat, key: DEEPSEEK_API_KEY}}

`what_counts` leaves out how an endpoint or an engine is reached: prices, limits and addresses may change in the middle
of a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
NotBelowZero = Annotated[float, Field(ge=0)]

FIXED = ("messages", "model", "n", "stream")  # fields of a request that `extra` may not name
OURS = ("max_tokens", "temperature", "top_p")  # those that it may leave out and not set
MEANS = frozenset({
    "url", "key", "concurrency", "timeout_s", "attempts", "requests_a_minute", "tokens_a_minute",
    "dollars_a_million_in", "dollars_a_million_out", "most_dollars",
})  # fmt: skip

ENGINE = frozenset({"kind", "dtype"})  # what of an engine decides what is sampled


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, nothing changes after it was validated."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rollouts(Section):
    """How completions are sampled at each step."""

    questions: Positive = 32  # the paper's 32 questions a step
    group: Annotated[int, Field(ge=2)] = 16  # the paper's group size
    max_tokens: Positive = 1024
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    slots: Positive = 512  # rows that run together
    ahead: Count = 0  # policy versions that sampling may run ahead of learning; more than 0 needs a launcher


class AlgorithmChoice(Section):
    """A row of the table of algorithms; `options` replace parts of its setting (algorithms/setting.py), which is its
    paper's."""

    name: str = "grpo"
    options: dict[str, bool | float | str] = {}

    # Updates that one rollout is split into; the paper takes 16 minibatches from one rollout of 8,192 samples.
    updates_per_rollout: Positive = 1
    reference_refresh: Count = 400  # steps after which reference := policy; 0: never

    @field_validator("options", mode="before")
    @classmethod
    def _numbers(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {name: number(value) if isinstance(value, str) else value for name, value in options.items()}


class OptimiserChoice(Section):
    """AdamW. The paper prints the learning rate alone (3e-6 at 671 B parameters)."""

    lr: Annotated[float, Field(gt=0)] = 1e-6
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    warmup_steps: Count = 0
    schedule: Literal["constant", "cosine"] = "constant"
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    micro_batch_tokens: Positive = 4096


class LoRAChoice(Section):
    """Adapters in place of all weights, by the optional library peft."""

    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0


class ShardingChoice(Section):
    """Where a learner's numbers lie, which are computed again, and how a run ends. It may change in the middle of a
    run: what is learned stays the same but for rounding."""

    recompute: bool = False  # what is inside of decoder layers, in the backward pass: less memory, a third more work
    offload: bool = False  # masters and the optimiser's moments lie in the CPU's memory; weights too, when divided
    tensor: Positive = 1  # processes that divide each matrix; the others divide samples and states
    deadline_s: Annotated[float, Field(ge=5)] = 120.0  # without a sign of life of a process, before all end
    grace_s: AboveZero = 8.0  # for a step to end after a request to stop; what is left is for the checkpoint


class WorkersChoice(Section):
    """The workers of a launcher, which sample and grade for the trainer. It may change in the middle of a run."""

    rollout: Positive = 1  # that sample
    reward: Count = 0  # that grade; 0: those that sample do
    learners: Positive = 1  # processes that learn (launcher=ray)
    threads: Count = 0  # of each worker; 0: the run's, divided among those that sample
    address: str = ""  # of a running Ray cluster, as HOST:6379 or auto; "": one of this machine
    restarts: Count = 3  # of the learners, each from the last checkpoint (launcher=ray)
    heartbeat_s: Annotated[float, Field(ge=2)] = 30.0  # of silence, after which a worker is taken for dead
    start_s: AboveZero = 300.0  # for a worker to come up
    question_s: NotBelowZero = 0.0  # a question out for longer is given to another worker; 0: never


class EvaluationChoice(Section):
    """What is evaluated before and after a stage, and every `every` steps (0: only before and after)."""

    problems: Positive = 64
    samples: Positive = 16
    temperature: Annotated[float, Field(ge=0)] = 1.0
    max_tokens: Positive = 512  # of a response, in stages that sample none while they train
    every: Count = 0
    every_problems: Positive = 64
    every_samples: Positive = 1


class PreferenceChoice(Section):
    """A reward model in an RL stage: a problem that says of itself which one it is for gets its score."""

    model: str  # an earlier stage, or a folder that such a stage has made
    weight: Annotated[float, Field(gt=0)] = 1.0
    last_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the steps, the last, in which it counts


def number(text: str) -> float | str:
    """YAML reads `1e-6` as a string; people mean a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _variable(name: str) -> str:
    if name and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ValueError("give the NAME of an environment variable in capitals; the key itself is never written")
    return name


Variable = Annotated[str, AfterValidator(_variable)]


class EndpointChoice(Section):
    """A model behind an OpenAI-compatible endpoint, how it is reached, and what asking it may cost."""

    url: str  # up to what stands before /chat/completions, as https://api.deepseek.com/v1
    model: str  # by the endpoint's own name
    key: Variable = ""  # the NAME of the environment variable that holds the API key; "": none is sent
    extra: dict[str, JsonValue] = {}  # more fields of a request; null leaves one out
    concurrency: Positive = 8  # requests at a time
    timeout_s: AboveZero = 600.0  # of one request, from its connection to the last byte
    attempts: Positive = 6  # for one answer
    requests_a_minute: Count = 0  # 0: no limit
    tokens_a_minute: Count = 0  # prompt and answer; 0: no limit
    dollars_a_million_in: NotBelowZero = 0.0
    dollars_a_million_out: NotBelowZero = 0.0
    most_dollars: AboveZero | None = None  # of one stage; the run ends before a request could pass it

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        wrong_port = parts.port == 0  # one that is no number raises here
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or wrong_port:
            raise ValueError("give an address as https://HOST/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("an address with a password in it would be written down; name a variable under `key`")
        return url.rstrip("/").removesuffix("/chat/completions").rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> EndpointChoice:
        if self.most_dollars is not None and not (self.dollars_a_million_in or self.dollars_a_million_out):
            raise ValueError("most_dollars needs the prices dollars_a_million_in and dollars_a_million_out")
        for name, value in self.extra.items():
            if name in FIXED or (name in OURS and value is not None):
                raise ValueError(f"`extra` holds {name!r}, which is set elsewhere")
        return self


class EngineChoice(Section):
    """What samples: aha's own engine; or vLLM, behind `url`, in a server that is started here, or in this process."""

    kind: Literal["native", "vllm"] = "native"
    url: str = ""  # of a running `vllm serve`, as http://127.0.0.1:8000
    start: bool = False  # a server, for as long as this process lasts
    python: str = ""  # the interpreter that has vLLM, for `start`; "": this one
    key: Variable = ""  # the NAME of the environment variable that holds the key of the server at `url`
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: the run's
    context: Count = 0  # tokens of a prompt with its response; 0: as many as the model has
    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the device's memory, that vLLM takes
    tensor_parallel: Positive = 1  # devices that share one copy of the model
    sleep: bool = False  # vLLM gives its memory back while nothing is sampled
    options: dict[str, JsonValue] = {}  # more of vLLM's own arguments by name, as {enforce_eager: true}
    folder: str = ""  # for weights on their way, that both sides can read; "": the machine's for temporary files
    readers: Literal["user", "group", "all"] = "user"  # of `folder`: a server may be another user's
    bucket_mb: Positive = 256  # of weights, that are loaded at a time
    connections: Positive = 256  # requests at a time
    timeout_s: AboveZero = 1800.0  # of one request
    attempts: Positive = 3  # for one answer
    wait_s: AboveZero = 900.0  # for a server that was started to answer

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username):
            raise ValueError("give an address as http://HOST:PORT")
        return url.rstrip("/").removesuffix("/v1")

    @model_validator(mode="after")
    def _consistent(self) -> EngineChoice:
        fields = type(self).model_fields.items()
        if self.kind == "native" and any(getattr(self, name) != field.default for name, field in fields):
            raise ValueError("aha's own engine has no settings here; add kind=vllm")
        if self.url and self.start:
            raise ValueError("`url` is of a server that runs, `start` starts one; give one of them")
        if self.python and not self.start:
            raise ValueError("`python` is for a server that is started; add start=true")
        if self.readers != "user" and not self.folder:
            raise ValueError("`readers` is of `folder`, which is not given; name a folder that others may read, too")
        return self


NATIVE = EngineChoice()


class SpeakerChoice(Section):
    """A model that is asked for text: an earlier stage's, a folder, `model:NAME`, or one behind an endpoint."""

    model: str = ""
    endpoint: EndpointChoice | None = None
    template: str = ""  # how `model` is asked; "": the recipe's for its own models, auto for others
    max_tokens: Positive = 2048  # of an answer, with its thinking
    temperature: NotBelowZero | None = None  # null: as the part that it plays needs (pipeline/voices.py)
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _one(self) -> SpeakerChoice:
        if bool(self.model) == (self.endpoint is not None):
            raise ValueError("give either `model` (a stage, a folder, model:NAME) or `endpoint` (its url and model)")
        return self


def what_counts(data: Any) -> Any:
    """Plain configuration without how its endpoints and engines are reached: which model an endpoint serves and what it
    is asked stays, and what kind of engine samples in what type."""
    if isinstance(data, Mapping):
        return {
            name: {n: v for n, v in value.items() if (n not in MEANS if name == "endpoint" else n in ENGINE)}
            if name in ("endpoint", "engine") and isinstance(value, Mapping)
            else what_counts(value)
            for name, value in data.items()
        }
    return [what_counts(one) for one in data] if isinstance(data, list | tuple) else data
