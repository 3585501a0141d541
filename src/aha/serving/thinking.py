"""How much a response may think: the switches of several servers' clients, read as one.

| asked by | off | budget in tokens |
|---|---|---|
| vLLM, SGLang | `chat_template_kwargs: {enable_thinking: false}` | `thinking_token_budget` |
| DeepSeek | `thinking: {type: disabled}` | `thinking: {budget_tokens}` |
| OpenRouter | `reasoning: {enabled: false}` | `reasoning: {max_tokens}` |
| OpenAI | `reasoning_effort: none` | `reasoning_effort`: low: a quarter of all tokens, medium: a half |
"""

from __future__ import annotations

from aha.serving.errors import invalid
from aha.serving.prompt import SWITCHES
from aha.serving.schema import ChatRequest

# The share of all tokens after which thinking is ended; None: it may take all.
EFFORTS = {"minimal": 0.25, "low": 0.25, "medium": 0.5, "high": None, "xhigh": None, "max": None, "ultra": None}


def effort_of(body: ChatRequest) -> str | None:
    """The effort asked for. Raises ApiError for one that does not exist."""
    effort = body.reasoning_effort or (body.reasoning.effort if body.reasoning is not None else None)
    if effort is not None and effort not in EFFORTS and effort != "none":
        raise invalid(f"reasoning_effort {effort[:40]!r} is none of none, {', '.join(EFFORTS)}", "reasoning_effort")
    return effort


def thinks(body: ChatRequest) -> bool:
    """False where any switch says so."""
    given = [(body.chat_template_kwargs or {}).get(name) for name in SWITCHES]
    reasoning = body.reasoning
    return not (
        False in given
        or (body.thinking is not None and body.thinking.type == "disabled")
        or (reasoning is not None and reasoning.enabled is False)
        or effort_of(body) == "none"
    )


def budget_of(body: ChatRequest, max_tokens: int) -> int | None:
    """Tokens after which thinking is ended; None: no bound of its own."""
    asked = (
        body.thinking_token_budget,
        body.thinking.budget_tokens if body.thinking is not None else None,
        body.reasoning.max_tokens if body.reasoning is not None else None,
    )
    given = [budget for budget in asked if budget is not None]
    share = EFFORTS.get(effort_of(body) or "")
    return min(given) if given else None if share is None else int(max_tokens * share)
