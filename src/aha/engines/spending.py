"""What keeps requests within limits: so many a minute, so many tokens a minute, and never more than a sum of money.

    pacer = Pacer(requests_a_minute=60, tokens_a_minute=0)
    sleep(pacer.take(1200))
    purse = Purse(most=5.0, spent=0.0)
    purse.take(0.02); ...; purse.settle(0.02, 0.004)

Both are shared by threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from aha.errors import RunFailed

LOOK_S = 0.5  # between two looks at whether a wait was given up


@dataclass(frozen=True, slots=True)
class Usage:
    """What answers have cost: requests, those of them that repeated another, tokens, dollars."""

    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests, self.retries + other.retries, self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out, self.dollars + other.dollars,
        )  # fmt: skip


class Pacer:
    """Spaces requests evenly, so that no minute has more of them, or of their tokens, than the limits (0: none)."""

    def __init__(
        self, requests_a_minute: int, tokens_a_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gap = 60.0 / requests_a_minute if requests_a_minute else 0.0  # seconds a request
        self._token_gap = 60.0 / tokens_a_minute if tokens_a_minute else 0.0  # seconds a token
        self._clock, self._lock = clock, threading.Lock()
        self._request_at = self._tokens_at = self._held_until = 0.0

    def take(self, tokens: int) -> float:
        """Reserve a place for a request of at most `tokens`; returns the seconds until it is its turn."""
        with self._lock:
            now = self._clock()
            at = max(now, self._request_at, self._tokens_at, self._held_until)
            self._request_at = at + self._gap if self._gap else 0.0
            self._tokens_at = at + tokens * self._token_gap
            return at - now

    def give_back(self, tokens: int) -> None:
        """Of the reserved tokens so many were not used."""
        with self._lock:
            self._tokens_at -= tokens * self._token_gap

    def hold(self, seconds: float) -> None:
        """Nobody who asks from now on begins earlier than that."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)


class Purse:
    """Dollars that may be spent: the most that a request can cost is set aside before it is made."""

    def __init__(self, most: float | None, spent: float) -> None:
        self.most, self.spent = most, spent
        self._set_aside = 0.0
        self._under_way = 0
        self._changed = threading.Condition()

    def take(self, dollars: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Set `dollars` aside; waits for requests under way where it needs what they leave. False where that was given
        up. Raises RunFailed where the sum could pass `most` although none is under way.
        """
        with self._changed:
            while self.most is not None and self.spent + self._set_aside + dollars > self.most:
                if not self._under_way:
                    raise RunFailed(
                        f"{self.spent:.6g} dollars are spent, and one more request, of up to {dollars:.6g}, could pass "
                        f"most_dollars={self.most:g}; what was answered is kept: the same command with a higher "
                        "most_dollars goes on"
                    )
                if given_up():
                    return False
                self._changed.wait(LOOK_S)
            self._set_aside += dollars
            self._under_way += 1
            return True

    def settle(self, set_aside: float, spent: float) -> None:
        """A request that `set_aside` was taken for has ended, and cost `spent`."""
        with self._changed:
            self._set_aside -= set_aside
            self._under_way -= 1
            if not self._under_way:
                self._set_aside = 0.0  # no rest of rounding
            self.spent += spent
            self._changed.notify_all()
