"""What a pool and its workers say to each other, and the seam to what starts workers: a `Launcher` for processes of
this machine (`local.py`), another for actors of a cluster (`ray/`).

    worker = launcher.start("rollout-0", setup)      # at once; it says "ready" when it is
    worker.send(Message("leave", {}))
    for message in worker.received(): ...

Orders, to a worker (`worker.py` reads them, `pool.py` writes them):

    draw      questions to sample, and to grade if asked
    grade     completions of one question, as bytes, to grade
    publish   a version, with the launcher's `handle` of its weights
    leave     end now; what is unfinished is given to another worker

Words, from a worker:

    ready     it can be given orders
    made      the completions of one question, or of several, with verdicts where it grades
    graded    the verdicts of one question
    holds     a version, and the digest of the weights as the engine holds them
    beat      that it lives: seconds busy and idle, tokens, rows that run
    failed    one sentence; it ends

What comes from a worker holds what a model has said, and is read as JSON and numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aha.protocols import Weights

Kind = Literal["rollout", "reward"]


@dataclass(frozen=True, slots=True)
class Message:
    """One order or word. `about` is plain data that JSON keeps; `handle` goes to workers alone and is their launcher's
    own.

    >>> Message("leave").about
    {}
    """

    kind: str
    about: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    handle: Any = None


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a fresh process needs to become a worker. `build` is a function of a module, found there by its name; it
    makes a `worker.Kit` of this."""

    kind: Kind
    recipe: str  # as JSON
    stage: str  # its name in the recipe
    model: str  # the folder that the stage begins from
    device: str  # "cpu", "cuda", "mps"; which GPU, the launcher says
    dtype: str  # of the engine's forward pass: "float32"
    threads: int
    build: Callable[[Setup], Any]
    eos_ids: tuple[int, ...] = ()  # the tokens that end a response


class Worker(Protocol):
    """One worker as its pool sees it."""

    name: str  # "rollout-0", "reward-1"

    def send(self, message: Message) -> None:
        """Never waits; to a worker that is gone nothing is sent."""
        ...

    def received(self) -> list[Message]:
        """What it has said since, in order; never waits."""
        ...

    def ended(self) -> str:
        """Why it is gone; "" while it runs. What it has said before is still `received`."""
        ...

    def end(self) -> None:
        """Now, whatever it does."""
        ...


class Launcher(Protocol):
    """Starts workers, and carries weights to them. `wait` and `hand_out` may be called while another thread calls
    something else; the others, and the methods of workers, are called by one thread at a time."""

    def start(self, name: str, setup: Setup) -> Worker:
        """Returns at once. Names are not used twice."""
        ...

    def hand_out(self, weights: Weights, version: int) -> Any:
        """Lay out the weights of `version` where workers can read them; the handle that `publish` orders carry. Those
        of the version before stay readable until the one after."""
        ...

    def wait(self, seconds: float) -> None:
        """Until a worker may have said something or ended, at most so long."""
        ...

    def close(self) -> None:
        """End all workers, and give back what they used."""
        ...
