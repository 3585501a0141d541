"""What an endpoint's answer says: the reply, what it took, or why there is none and whether asking again may help.

    spoken(answer).reply      # Reply("4", thinking="2 and 2 ...", stop_reason="stop")

The thinking comes as `reasoning_content` (DeepSeek, SGLang) or `reasoning` (vLLM, OpenRouter), or stands in the text.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aha.engines.post import MOST_BYTES, Answer
from aha.types import Reply, StopReason

REASONING = ("reasoning_content", "reasoning")
MOST_TOKENS = 10**9  # of one answer: a count beyond it is none
REFUSED = ("content_filter", "tool_calls", "function_call")  # ways to end without a text


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one request has brought. `tokens` are of prompt and answer, None where nobody said; `paid`: it may have been
    paid for all the same."""

    reply: Reply | None
    reason: str = ""
    again: bool = False  # the same request may bring more
    paid: bool = False
    tokens: tuple[int, int] | None = None
    wait_s: float | None = None  # that the endpoint asks for before the next request


def spoken(answer: Answer) -> Spoken:
    """The reply in an answer of status 200. What cannot be read may come whole another time; a refusal will not."""
    if not answer.whole:
        return Spoken(None, f"the answer has more than {MOST_BYTES} bytes", paid=True)
    try:
        data = json.loads(answer.body)
        if isinstance(data, Mapping) and "choices" not in data and "error" in data:  # some say 200 and mean it not
            return Spoken(None, f"the answer is an error: {clean(str(data['error']))[:200]}", again=True)
        choice = data["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        text, tokens = text_of(message.get("content")), _tokens(data.get("usage"))
        refusal = message.get("refusal") or (f"it ended with {ended!r}" if ended in REFUSED else "")
        inside = next((m for name in REASONING if isinstance(m := message.get(name), str) and m), "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = f"the answer is no chat completion ({type(error).__name__})"
        return Spoken(None, reason, again=True, paid=True)
    if refusal:
        return Spoken(None, f"the model gave no text: {clean(str(refusal))[:200]}", paid=True, tokens=tokens)
    thinking, rest = (inside, text) if inside else apart(text)
    stop: StopReason = "length" if ended == "length" else "stop"
    counted = tokens[1] if tokens else None
    inside_counted = _of_thinking(data.get("usage")) if thinking else 0
    reply = Reply(clean(rest), clean(thinking), stop, counted, inside_counted)
    return Spoken(reply, paid=True, tokens=tokens)


def text_of(content: Any) -> str:
    """A message's content: a text, nothing, or a list of parts. Raises TypeError for anything else."""
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type", "text") == "text")
    if not isinstance(content, str):
        raise TypeError("content is no text")
    return content


def apart(text: str, *, opened: bool = False) -> tuple[str, str]:
    """The thinking at a text's beginning and what follows it; `opened`: the prompt ended with `<think>`.

    >>> apart("<think>2+2</think>4"), apart("2+2</think>4"), apart("4"), apart("<think>2+")
    (('2+2', '4'), ('2+2', '4'), ('', '4'), ('2+', ''))
    """
    inside, closed, rest = text.partition("</think>")
    if not closed and not opened and not text.lstrip().startswith("<think>"):
        return "", text
    return inside.strip().removeprefix("<think>").strip(), rest.strip()


def clean(text: str) -> str:
    """`text` without halves of characters, which JSON can say and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def retry_after(text: str) -> float | None:
    """The seconds that a `Retry-After` asks for, in its two forms: a number, or a date."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _tokens(usage: Any) -> tuple[int, int] | None:
    """Tokens of prompt and answer, where the endpoint counts them; thinking is among the answer's."""
    if not isinstance(usage, Mapping):
        return None
    asked, said = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(asked) is not int or type(said) is not int or not 0 <= min(asked, said) <= max(asked, said) < MOST_TOKENS:
        return None
    return asked, said


def _of_thinking(usage: Any) -> int | None:
    """Tokens of thinking, where the endpoint counts them apart; some say 0 whatever there is."""
    details = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    found = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return found if type(found) is int and found > 0 else None
