"""Messages between the threads of an actor, and as bytes between actors.

    box = Mailbox()
    box.put(Message("beat"))        # from any thread
    box.take(1.0)                   # the next one, or None
    box.take_all(5.0)               # waits for the first one
    split(joined(messages))

What Ray carries is bytes: nothing that a model has said is unpickled.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Sequence

from aha.distributed.rollout.channel import Message
from aha.distributed.rollout.local import decoded, encoded

LENGTH = struct.Struct("<Q")


class Mailbox:
    """Messages in order. Of beats that nobody has read only the last is kept."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, message: Message) -> None:
        """Add one."""
        with self._changed:
            if message.kind == "beat" and self._messages and self._messages[-1].kind == "beat":
                self._messages.pop()
            self._messages.append(message)
            self._changed.notify()

    def take(self, seconds: float) -> Message | None:
        """The next one; None where none comes in time."""
        with self._changed:
            self._wait(seconds)
            return self._messages.popleft() if self._messages else None

    def take_all(self, seconds: float) -> list[Message]:
        """All there are, as soon as there is one; none where none comes in time, or will come."""
        with self._changed:
            self._wait(seconds)
            found = list(self._messages)
            self._messages.clear()
            return found

    def close(self) -> None:
        """Nothing will be put any more: nobody waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._messages and not self._closed and (left := until - time.monotonic()) > 0:
            self._changed.wait(left)


def joined(messages: Sequence[Message]) -> bytes:
    """Several messages as bytes.

    >>> split(joined([Message("ready"), Message("made", {"question": "17"}, b"12")]))[1].body
    b'12'
    """
    parts = [encoded(message) for message in messages]
    return b"".join(LENGTH.pack(len(part)) + part for part in parts)


def split(data: bytes) -> list[Message]:
    """Inverse of `joined`."""
    found, at = [], 0
    while at < len(data):
        (size,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        found.append(decoded(data[at : at + size]))
        at += size
    return found
