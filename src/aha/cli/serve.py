"""The command that serves: serve."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from aha.cli.shared import Device, Dtype, Threads, app, complain, console
from aha.errors import UserError

FIELDS = {
    "both": ("reasoning_content", "reasoning"),
    "reasoning_content": ("reasoning_content",),
    "reasoning": ("reasoning",),
}
MODEL, ASKING, LIMITS = "The model", "Where a request does not say it", "Limits"

Keys = Annotated[list[str] | None, typer.Option("--api-key", help="May be given several times.", envvar="AHA_API_KEY")]
Name = Annotated[str, typer.Option(help="What clients call the model.", rich_help_panel=MODEL)]
Template = Annotated[str, typer.Option(help="auto, chat, r1-zero, short.", rich_help_panel=MODEL)]
Thinking = Annotated[str, typer.Option(help="Whether it thinks: auto, on, off.", rich_help_panel=MODEL)]
Forced = Annotated[bool, typer.Option("--force-think/--no-force-think", help="Open <think>.", rich_help_panel=MODEL)]
Field = Annotated[str, typer.Option(help="both, reasoning_content or reasoning.", rich_help_panel=MODEL)]
Engine = Annotated[str, typer.Option(help="native, or vllm: a server that runs.", rich_help_panel=MODEL)]
EngineURL = Annotated[str, typer.Option(help="vLLM's address.", rich_help_panel=MODEL)]
EngineKey = Annotated[str, typer.Option(help="What vLLM asks for.", envvar="VLLM_API_KEY", rich_help_panel=MODEL)]
Strict = Annotated[bool, typer.Option("--strict-seeds", help="Same seed, same answer, always.", rich_help_panel=MODEL)]
Risk = Annotated[Path | None, typer.Option(metavar="FILE", help="Risk control.", rich_help_panel=MODEL)]
Temperature = Annotated[float | None, typer.Option(help="Else the model's own, or 0.6.", min=0, rich_help_panel=ASKING)]
TopP = Annotated[
    float | None, typer.Option(help="Else the model's own, or 0.95.", min=0.01, max=1, rich_help_panel=ASKING)
]
Slots = Annotated[int, typer.Option(help="Samples that run together.", min=1, rich_help_panel=LIMITS)]
Engines = Annotated[int, typer.Option(help="Copies of the model; 0: chosen.", min=0, rich_help_panel=LIMITS)]
Queue = Annotated[int, typer.Option(help="Samples that may wait.", min=0, rich_help_panel=LIMITS)]
Context = Annotated[int, typer.Option(help="Tokens in all; 0: the model's.", min=0, rich_help_panel=LIMITS)]
CacheGiB = Annotated[float, typer.Option(help="Keys and values; 0: a share.", min=0, rich_help_panel=LIMITS)]
BodyMiB = Annotated[float, typer.Option(help="Of one request.", min=0.001, rich_help_panel=LIMITS)]
Timeout = Annotated[float, typer.Option(help="Seconds of one answer.", min=1, rich_help_panel=LIMITS)]
Stall = Annotated[float, typer.Option(help="Seconds a client may rest.", min=0.1, rich_help_panel=LIMITS)]
Drain = Annotated[float, typer.Option(help="Seconds for what runs at the end.", min=1, rich_help_panel=LIMITS)]


@app.command(rich_help_panel="Use")
def serve(
    model: Annotated[str, typer.Argument(help="tiny, a folder, or a hub id.")],
    host: Annotated[str, typer.Option(help="0.0.0.0: for other machines too; give keys then.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)] = 8000,
    api_key: Keys = None,
    name: Name = "",
    template: Template = "auto",
    thinking: Thinking = "auto",
    forced: Forced = True,
    reasoning_field: Field = "both",
    strict_seeds: Strict = False,
    risk: Risk = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    slots: Slots = 64,
    queue: Queue = 256,
    context: Context = 0,
    cache_gib: CacheGiB = 0.0,
    body_mib: BodyMiB = 4.0,
    timeout: Timeout = 600.0,
    stall: Stall = 60.0,
    drain: Drain = 30.0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
    engines: Engines = 0,
    engine: Engine = "native",
    engine_url: EngineURL = "",
    engine_key: EngineKey = "",
) -> None:
    """Serve a model to OpenAI's clients: chat completions, completions, responses. Needs the extra serve."""
    _check(thinking, reasoning_field)
    vllm = _vllm(engine, engine_url, engine_key, engines, cache_gib)
    from aha import runtime
    from aha.serving import server, start
    from aha.serving.service import Settings

    chosen = runtime.choose(device, dtype, threads)
    runtime.apply(chosen)
    with contextlib.closing(server.listen(host, port)) as sock:
        options = start.Options(
            template, thinking, forced, temperature, top_p, context, int(cache_gib * 2**30), tuple(api_key or ()),
            risk, vllm,
        )  # fmt: skip
        settings = Settings(
            name or Path(model).name, frozenset({model}), slots, queue, int(body_mib * 2**20), timeout, stall,
            FIELDS[reasoning_field], strict_seeds,
        )  # fmt: skip
        several = 0 if vllm else start.engines_for(model, chosen, engines)
        service = start.make_service(model, chosen, several, settings, options)
        runs = f"vLLM at {vllm.url}" if vllm else f"{chosen.dtype_name} on {chosen.device}, threads {chosen.threads}"
        said = functools.partial(_greet, service, runs, several, host, sock.getsockname()[1])
        server.serve(service, sock, drain_s=drain, ready=said)


def _check(thinking: str, reasoning_field: str) -> None:
    if thinking not in ("auto", "on", "off"):
        raise UserError(f"--thinking {thinking!r} is none of auto, on, off")
    if reasoning_field not in FIELDS:
        raise UserError(f"--reasoning-field {reasoning_field!r} is none of {', '.join(FIELDS)}")
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise UserError(f"serving needs {error.name}: pip install 'aha[serve]'") from error
    del fastapi, uvicorn


def _vllm(engine: str, url: str, key: str, engines: int, cache_gib: float) -> Any:
    """Where the vLLM is that draws; None: the native engine does."""
    if engine not in ("native", "vllm"):
        raise UserError(f"--engine {engine!r} is none of native, vllm")
    if engine == "native":
        if url:
            raise UserError(f"--engine-url {url} is of no use to --engine native; add --engine vllm")
        return None
    if engines or cache_gib:
        raise UserError("--engines and --cache-gib are of the native engine; leave them out, and tell vLLM")
    try:
        import httpx2
    except ImportError as error:
        raise UserError(f"serving by vLLM needs {error.name}: pip install 'aha[serve]'") from error
    del httpx2
    from aha.serving.vllm_meeting import Place

    return Place((url or "http://127.0.0.1:8000").rstrip("/").removesuffix("/v1"), key)


def _greet(service: Any, runs: str, engines: int, host: str, port: int) -> None:
    from aha.serving.server import is_local

    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    console.print(
        f"serving {service.settings.name} at {address}/v1 "
        f"({runs}, context {service.context}, "
        f"slots {service.settings.slots}{f', engines {engines}' if engines > 1 else ''})\nchat page at {address}/",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if not service.keys and not is_local(host):
        complain("everybody who reaches this machine may ask: give --api-key, or --host 127.0.0.1")
