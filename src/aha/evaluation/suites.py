"""The suites, a row each: which questions, how they are put, how many samples, and who judges.

    suite = find_suite("aime24", source="aime_2024.jsonl")
    suite.samples, suite.instruction      # 64, "Please reason step by step, and put your final answer within ..."

What the paper says of its protocol is the default (DeepSeek-R1, arXiv 2501.12948 v1, section 3, and v2, D.1):
temperature 0.6, top-p 0.95, 32,768 tokens, no system prompt, everything zero-shot in the user's turn, the answer read
from the summary; 64 samples of AIME and GPQA, 16 of MATH, 8 of LiveCodeBench. Where it says no number (it speaks of 4
to 64) small sets get 8 or 4 samples and large ones 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aha.errors import UserError, nearest
from aha.evaluation.judging import ALPACA, ARENA_HARD, Match
from aha.plugins import is_plugin, load_object
from aha.tasks.hub import FILE_ON_HUB
from aha.tasks.table import EMBEDDED, TASKS
from aha.types import Sampling

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."  # the model card's
LETTER = "Think step by step. End with a line of the form 'Answer: X', where X is the letter of the right option."
LETTER_ZH = "请一步一步思考，最后单独写一行“答案：X”，其中 X 是正确选项的字母。"
PAPER = Sampling(max_tokens=32_768, temperature=0.6, top_k=0, top_p=0.95)
LCB = ",".join(f"{FILE_ON_HUB}livecodebench/code_generation_lite/test{number}.jsonl" for number in (4, 5))
ALPACA_DATA = f"{FILE_ON_HUB}tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline.json"
ARENA_DATA = f"{FILE_ON_HUB}lmarena-ai/arena-hard-auto/data/arena-hard-v0.1"


@dataclass(frozen=True, slots=True)
class Suite:
    """`tasks` have their usual sources, "" where they need none. `problems` of each are asked, all where it is 0.

    `instruction` stands under each question. `whole`: answers are read from whole responses, not from summaries alone.
    `match`: a judge compares the answers with a baseline's.
    """

    name: str
    tasks: Mapping[str, str]
    samples: int
    instruction: str = ""
    sampling: Sampling = PAPER
    problems: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    match: Match | None = None


def _exam(name: str, source: str, samples: int = 1, instruction: str = LETTER) -> Suite:
    return Suite(name, {name: source}, samples, instruction)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        # The embedded tasks, for the embedded family of models: it knows no instruction, and 1024 tokens.
        Suite("tiny", dict.fromkeys(EMBEDDED, ""), 8, sampling=replace(PAPER, max_tokens=320), problems=64),
        Suite("aime24", {"aime": "HuggingFaceH4/aime_2024"}, 64, BOXED),
        Suite("aime25", {"aime": "math-ai/aime25"}, 64, BOXED),
        Suite("math500", {"math500": "HuggingFaceH4/MATH-500"}, 16, BOXED),
        Suite("gsm8k", {"gsm8k": "openai/gsm8k"}, 4, BOXED),
        Suite("mgsm", {"mgsm": "juletxara/mgsm"}, 4, BOXED, options={"config": "*"}),
        _exam("gpqa", "Idavidrein/gpqa", 64),
        _exam("mmlu", "cais/mmlu"),
        _exam("mmlu-pro", "TIGER-Lab/MMLU-Pro"),
        _exam("ceval", "ceval/ceval-exam", instruction=LETTER_ZH),
        Suite("bbh", {"bbh": "lukaemon/bbh"}, 1, BOXED, options={"config": "*"}),
        Suite("ifeval", {"ifeval": "google/IFEval"}, 4),
        Suite("humaneval", {"humaneval": "openai/openai_humaneval"}, 8),
        Suite("mbpp", {"mbpp": "google-research-datasets/mbpp"}, 8),
        # The paper's window: contests from August 2024 to January 2025.
        Suite("livecodebench", {"livecodebench": LCB}, 8, options={"since": "2024-08-01", "until": "2025-02-01"}),
        Suite("alpaca-eval", {"alpaca-eval": ALPACA_DATA}, 1, match=ALPACA),
        Suite("arena-hard", {"arena-hard": ARENA_DATA}, 1, match=ARENA_HARD),
    )
}


def find_suite(name: str, source: str = "") -> Suite:
    """The suite `name`, or the user's own, `FILE.py:NAME`; `source` replaces where its data comes from.

    Raises UserError for an unknown name, and for a source where there is not one task that reads one.
    """
    if is_plugin(name):
        suite = load_object(name)
        if not isinstance(suite, Suite):
            raise UserError(f"suite {name!r} is no Suite; see aha.evaluation.suites")
    elif name in SUITES:
        suite = SUITES[name]
    else:
        raise UserError(f"unknown suite {name!r}{nearest(name, SUITES)}")
    if not source:
        return suite
    if len(suite.tasks) > 1 or not any(suite.tasks.values()):
        raise UserError(f"suite {name!r} reads no data; leave out --data")
    return replace(suite, tasks=dict.fromkeys(suite.tasks, source))


def suite_of_task(task: str, *, problems: int = 100, samples: int = 16, max_tokens: int = 320) -> Suite:
    """One task as a suite, asked as it is in training: no instruction, answers read from whole responses."""
    name, _, source = task.partition(":")
    tasks = {name: source} if name in TASKS else {task: ""}
    sampling = replace(PAPER, max_tokens=max_tokens)
    return Suite(name if name in TASKS else task, tasks, samples, sampling=sampling, problems=problems, whole=True)


def spec_of(task: str, source: str) -> str:
    """A task with its source as `make_task` takes it.

    >>> spec_of("gsm8k", "openai/gsm8k"), spec_of("countdown", "")
    ('gsm8k:openai/gsm8k', 'countdown')
    """
    return f"{task}:{source}" if source else task
