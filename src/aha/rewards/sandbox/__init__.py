"""A sandbox for programs that a model wrote. See `run.py` for how it is used, `slot.py` for what it is made of."""

from aha.rewards.sandbox.limits import Call, CallResult, Limits, Ran
from aha.rewards.sandbox.pool import Pool
from aha.rewards.sandbox.run import available, run_calls, run_file, run_program
from aha.rewards.sandbox.slot import SandboxError

__all__ = [
    "Call", "CallResult", "Limits", "Pool", "Ran", "SandboxError", "available", "run_calls", "run_file", "run_program",
]  # fmt: skip
