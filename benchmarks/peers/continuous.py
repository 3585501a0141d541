"""Sizes of `transformers`' continuous batching on a CPU. Standard library alone.

By itself it sizes its cache, and an attention mask of cache x batch, by the free memory of the machine; on a CPU it
then fills gigabytes before the first token. Sized for the work at hand, it starts within a second.
"""

from __future__ import annotations

import math
from typing import Any

PAGE = 64  # tokens
LEAST_BATCH = 512  # tokens of one forward pass, for prefills


def sizes(device: str, rows: int, longest: int) -> dict[str, Any]:
    """Settings under which `rows` rows of up to `longest` tokens run together; its own choice on a GPU."""
    if device != "cpu":
        return {}
    blocks = rows * (math.ceil(longest / PAGE) + 1)
    return {"page_size": PAGE, "num_blocks": blocks, "max_batch_tokens": max(LEAST_BATCH, rows)}
