"""TRL's `GRPOTrainer` for its two measuring processes, and a clock for its steps. Runs in TRL's environment.

One optimiser step over all rows of a step, without gradient checkpointing (which costs a second forward pass), and with
the weights in the job's dtype.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from peers.continuous import sizes
from peers.job import Job


class Clock(TrainerCallback):
    """The moments at which training began and each step ended; ends training once the job's time is used up."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.moments: list[float] = []

    @property
    def seconds(self) -> list[float]:
        """Seconds of each step but the first, which warms up."""
        return [b - a for a, b in zip(self.moments, self.moments[1:], strict=False)]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.job.get("device", "cpu") != "cpu":
            torch.cuda.synchronize()
        self.moments.append(time.perf_counter())
        spent = self.seconds
        if spent and sum(spent) + spent[-1] >= self.job["budget_s"]:
            control.should_training_stop = True


def load(job: Job, folder: str) -> tuple[Any, Any]:
    """The model in the job's dtype and its tokenizer."""
    torch.set_num_threads(job["threads"])
    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, job["dtype"])), (
        AutoTokenizer.from_pretrained(folder)
    )


def trainer(
    job: Job,
    model: Any,
    tokenizer: Any,
    texts: list[str],
    *,
    rows: int,
    group: int,
    max_tokens: int,
    reward: Callable[..., list[float]],
) -> tuple[Any, Clock]:
    """A trainer of `job["repeats"]` steps after one that warms up; each takes the next `rows` / `group` of `texts`."""
    trl: Any = importlib.import_module("trl")
    micro = min(rows, job["rows"])
    assert rows % micro == 0, f"{rows} rows cannot be split into micro-batches of {micro}"
    longest = max(len(ids) for ids in tokenizer(texts)["input_ids"]) + max_tokens
    arguments = trl.GRPOConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=job.get("device", "cpu") == "cpu", bf16=False,
        max_steps=job["repeats"] + 1, per_device_train_batch_size=micro, gradient_accumulation_steps=rows // micro,
        num_generations=group, max_completion_length=max_tokens, temperature=1.0, top_p=1.0, top_k=0,
        beta=0.0, loss_type="dapo", learning_rate=1e-6, lr_scheduler_type="constant", adam_beta2=0.95,
        gradient_checkpointing=False, shuffle_dataset=False, dataloader_num_workers=0,
        use_transformers_continuous_batching=job.get("continuous", False),
        transformers_continuous_batching_config=sizes(job.get("device", "cpu"), rows, longest),
        report_to="none", save_strategy="no", logging_steps=10_000, disable_tqdm=True, seed=0,
    )  # fmt: skip
    clock = Clock(job)
    made = trl.GRPOTrainer(
        model=model, reward_funcs=reward, args=arguments, processing_class=tokenizer, callbacks=[clock],
        train_dataset=Dataset.from_dict({"prompt": texts, "index": list(range(len(texts)))}),
    )  # fmt: skip
    return made, clock
