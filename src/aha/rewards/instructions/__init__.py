"""Verifiable instructions: what a response must look like, checked by rules. The 25 kinds of IFEval.

    grade("no commas here", [{"id": "punctuation:no_comma", "kwargs": {}}], scoring="all")      # Score(1.0, "...")

Source: Zhou et al., Instruction-Following Evaluation for Large Language Models, arXiv 2311.07911: table 1 has the
kinds, section 2.2 the strict and the loose reading. Data rows name a kind by id and give its arguments. `kinds` is the
table, `checks` and `layout` hold the rules, `measure` says what is a word, a sentence and a paragraph.
"""

from aha.rewards.instructions.grading import check, grade, instruction_all, instruction_share, unusable
from aha.rewards.instructions.kinds import KINDS

__all__ = ["KINDS", "check", "grade", "instruction_all", "instruction_share", "unusable"]
