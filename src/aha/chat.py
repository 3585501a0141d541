"""`aha chat`: one conversation in the terminal. Earlier answers stay in the prompt, earlier thinking does not."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from aha import runtime
from aha.errors import UserError
from aha.models.loading import load
from aha.models.templates import render
from aha.pipeline.context import dialogue_of, engine_of
from aha.types import Message, Problem, Prompt, Rollout, Sampling


def converse(
    console: Console, model: str, template: str, sampling: Sampling, seed: int, machine: tuple[str, str, int]
) -> None:
    """Read questions until the input ends; an empty line starts afresh."""
    chosen = runtime.choose(*machine)
    runtime.apply(chosen)
    loaded = load(model, chosen.device)
    dialogue, engine = dialogue_of(loaded, template), engine_of(loaded, chosen, 1)
    console.print(f"[bold]{model}[/]  [dim]a question a line; an empty line starts afresh, ctrl-d ends[/]")
    history: list[Message] = []
    turn = 0
    while True:
        try:
            question = console.input("[bold cyan]> [/]" if console.is_terminal else "").strip()
        except EOFError:
            return
        if not question:
            history = []
            continue
        history.append(Message("user", question))
        ids = render(tuple(history), template, loaded.tokenizer)
        try:
            [[completion]] = engine.generate([Prompt(ids, 1, seed + turn)], sampling)
        except UserError as error:
            console.print(f"[red]{error}[/]")
            history = []
            continue
        rollout = dialogue.read(Problem(f"chat-{turn}", "chat", tuple(history), ""), ids, completion)
        show(console, rollout)
        history.append(Message("assistant", rollout.parsed.answer or ""))
        turn += 1


def show(console: Console, rollout: Rollout) -> None:
    """Thinking dimmed, then the answer; a response without an answer is shown whole."""
    parsed = rollout.parsed
    if parsed.reasoning:
        console.print(Text(parsed.reasoning.strip(), style="dim"))
    if parsed.answer is not None:
        console.print(Text(parsed.answer.strip(), style="bold"))
    elif not parsed.reasoning:
        console.print(Text(rollout.text.strip()))
    if rollout.completion.stop_reason == "length":
        console.print("[yellow](cut off at the length limit; raise --max-tokens)[/]")
