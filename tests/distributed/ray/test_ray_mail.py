"""Messages between threads and actors."""

from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from aha.distributed.ray.mail import Mailbox, joined, split
from aha.distributed.rollout.channel import Message

KINDS = st.sampled_from(["ready", "made", "beat", "failed"])
PLAIN = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=5) | st.floats(allow_nan=False), max_size=3
)


@given(st.lists(st.builds(Message, KINDS, PLAIN, st.binary(max_size=40)), max_size=6))
def test_messages_come_back_from_bytes(messages: list[Message]) -> None:
    assert split(joined(messages)) == messages


def test_messages_keep_their_order_and_of_beats_the_last_counts() -> None:
    box = Mailbox()
    for number, kind in enumerate(("ready", "beat", "beat", "made", "beat")):
        box.put(Message(kind, {"number": number}))
    assert box.take(0) == Message("ready", {"number": 0})
    assert [message.about["number"] for message in box.take_all(0)] == [2, 3, 4]
    assert box.take(0) is None and box.take_all(0.01) == []


def test_whoever_waits_hears_the_first_message() -> None:
    box = Mailbox()
    threading.Timer(0.05, box.put, [Message("made")]).start()
    began = time.monotonic()
    assert box.take_all(30) == [Message("made")] and time.monotonic() - began < 20


def test_nobody_waits_for_a_box_that_is_closed() -> None:
    box = Mailbox()
    box.put(Message("failed"))
    threading.Timer(0.05, box.close).start()
    began = time.monotonic()
    assert box.take_all(30) == [Message("failed")]
    assert box.take_all(30) == [] and box.take(30) is None and time.monotonic() - began < 20
