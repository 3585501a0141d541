"""Seeds from what they are for, so that every draw follows from the run's seed and a name or number."""

from __future__ import annotations

import hashlib


def seed_of(*what: object) -> int:
    """64 bits that follow from `what` alone: `seed_of(run_seed, step, place)`."""
    digest = hashlib.blake2b(" ".join(map(str, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
