"""A vLLM server before it is asked for answers: whether it runs the model that is to be served, and takes a grammar.

place = Place("http://127.0.0.1:8000", key="")
async with place.client(600) as client:
    met = await meet(client, place, vocabulary, "Qwen/Qwen3-0.6B")      # its name there, and its context
VLLMForms(place, met.name).of_regex("[0-9]+")                           # refused where vLLM refuses it
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aha.engines.post import said
from aha.errors import UserError
from aha.models.loading import resolve
from aha.serving.constrain import COMPILE_S
from aha.serving.errors import ApiError
from aha.serving.guide import Forms, Grammar
from aha.serving.vllm_asking import COMPLETIONS, structured
from aha.serving.vocabulary import Vocabulary

if TYPE_CHECKING:
    from httpx2 import AsyncClient

# Letters, digits, spaces, line ends, other alphabets and marks: tokenizers that agree on it are one.
PROBE = "The answer is 42.\n\n<think>\n naïve 東京 😀</think>  def f(x):\treturn x**2 # <|im_start|>"
CONNECT_S = 5.0
REST_S = 2.0  # for which a connection may wait for its next request: less than the 5 after which vLLM closes it
MEET_S = 120.0  # for a server that compiles what it needs for its first answer
ROUNDING = 1e-4  # by which a log-prob may be above 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a vLLM server is, and the key that it asks for. Raises UserError for what is no address."""

    url: str
    key: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise UserError(f"--engine-url {self.url!r} is no address; give it as http://HOST:PORT")
        if not (self.key.isascii() and self.key.isprintable()):
            raise UserError("--engine-key holds what no key can (line ends or letters beyond ASCII); set it anew")

    @property
    def settings(self) -> dict[str, Any]:
        """Of every client. No proxy comes between: the server is on this machine, or near."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"headers": headers, "trust_env": False}

    def client(self, timeout_s: float) -> AsyncClient:
        """A client that waits for `timeout_s` seconds for what comes next."""
        import httpx2

        times = httpx2.Timeout(timeout_s, connect=CONNECT_S)
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=REST_S)  # the slots bound their number
        return httpx2.AsyncClient(base_url=self.url, timeout=times, limits=limits, **self.settings)


@dataclass(frozen=True, slots=True)
class Met:
    """The model's name at the server, and its tokens of a prompt and its answer."""

    name: str
    context: int


async def meet(client: AsyncClient, place: Place, vocabulary: Vocabulary, model: str) -> Met:
    """What serves there. Raises UserError where nothing does, or another model than `model`, of this `vocabulary`, or
    where its log-probs are not the model's own."""
    import httpx2

    try:
        async with asyncio.timeout(MEET_S):
            cards = await _asked(client, place, "GET", "/v1/models")
            card = next(card for card in cards["data"] if not card.get("parent"))  # no adapter
            met = Met(str(card["id"]), int(card["max_model_len"]))
            _is_same(place, str(card.get("root") or ""), model)
            ids = vocabulary.encode(PROBE)
            body = {"model": met.name, "prompt": PROBE, "add_special_tokens": False}
            found = await _asked(client, place, "POST", "/tokenize", body)
            if found["tokens"] != ids:
                raise UserError(
                    f"vLLM at {place.url} makes other tokens of a text than the tokenizer of {model!r}; serve the "
                    "model that it runs"
                )
            _are_own(place, await _asked(client, place, "POST", COMPLETIONS, _probe(met.name, ids)))
            return met
    except (httpx2.HTTPError, TimeoutError) as error:
        raise UserError(
            f"no vLLM answers at {place.url} ({reason_of(error)}); start it, or change --engine-url"
        ) from error
    except UserError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(
            f"what answers at {place.url} is no vLLM that is known ({type(error).__name__}: {error}); vLLM 0.32 is"
        ) from error


def reason_of(error: Exception) -> str:
    """An error of the connection in words."""
    return f"{type(error).__name__}: {error}".rstrip(": ")[:200]


async def _asked(
    client: AsyncClient, place: Place, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    answer = await client.request(method, path, json=body)
    if answer.status_code != 200:
        raise UserError(
            f"vLLM at {place.url}{path} answers {answer.status_code} {said(answer.content)}".rstrip()
            + "; see docs/serving.md"
        )
    return answer.json()


def _is_same(place: Place, root: str, model: str) -> None:
    """Raise UserError where vLLM was started with another model: two folders of this machine, or two hub ids. Of a
    folder on one side alone nothing is known."""
    there, here = Path(root).expanduser(), Path(resolve(model))
    if there.is_dir() != here.is_dir() or (Path(root).is_absolute() and not there.is_dir()):
        return
    same = there.resolve() == here.resolve() if there.is_dir() else root == model
    if root and not same:
        raise UserError(f"vLLM at {place.url} runs {root!r} and not {model!r}; serve the model that it runs")


def _probe(name: str, ids: list[int]) -> dict[str, Any]:
    """A request of the one token that it allows, whose log-prob is 0 after the cuts, and less before."""
    return {
        "model": name, "prompt": ids[:1], "max_tokens": 1, "allowed_token_ids": ids[-1:], "logprobs": 1,
        "temperature": 1.0, "seed": 0, "ignore_eos": True, "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }  # fmt: skip


def _are_own(place: Place, found: Any) -> None:
    """Raise UserError where log-probs are not the model's own."""
    choice = found["choices"][0]
    [own], [top] = choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]
    if len(choice["token_ids"]) != 1:
        raise ValueError(f"it answers one token with {str(choice)[:200]}")
    if own >= 0 or max(top.values()) > ROUNDING:
        raise UserError(
            f"vLLM at {place.url} gives log-probs that are not the model's own; start it with --logprobs-mode "
            "raw_logprobs"
        )


class VLLMForms(Forms):
    """Grammars that vLLM was asked about: it draws a token under each. It keeps what it has compiled for it."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._asked = functools.lru_cache(maxsize=64)(self._ask)

    def check(self, grammar: Grammar) -> None:
        """As `Forms`. Raises ApiError where vLLM does not answer."""
        self._asked(grammar)

    def _ask(self, grammar: Grammar) -> None:
        import httpx2

        body = {"model": self._name, "prompt": [0], "max_tokens": 1, **structured(grammar)}
        try:
            answer = httpx2.post(self._place.url + COMPLETIONS, json=body, timeout=COMPILE_S, **self._place.settings)
        except httpx2.HTTPError as error:
            raise ApiError(503, f"vLLM does not answer ({reason_of(error)})", code="engine_stopped") from error
        if answer.status_code != 200:
            raise UserError(f"vLLM cannot use the {grammar.kind} grammar: {said(answer.content)}")
