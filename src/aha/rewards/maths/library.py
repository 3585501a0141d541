r"""Equality by math-verify, for what our own reader does not know: integrals, sums, limits. For worker processes.

math-verify compares with an absolute tolerance and takes 3.14159 for pi, so a positive verdict of it stands only where
the difference is zero to a high relative precision.

Source: math-verify, https://github.com/huggingface/Math-Verify
"""

from __future__ import annotations

import logging
import random
import re
from typing import Any

import sympy
from math_verify import LatexExtractionConfig, parse, verify

DIGITS = 50
POINTS = 4
# Its plain-text reader hands text to sympy's `parse_expr`, which runs it: only the LaTeX reader is used.
_DIFFERENTIAL = re.compile(r"d ?\\?[A-Za-z]|d\}")
_LATEX_ONLY = [LatexExtractionConfig()]

logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def equal(gold: str, answer: str) -> bool:
    """Whether both are read and are the same; text that is not read equals nothing."""
    left, right = read(gold), read(answer)
    if left is None or right is None:
        return False
    return bool(verify(left, right, timeout_seconds=None)) and _close(left, right)


def read(text: str) -> Any | None:
    """What math-verify makes of `text`, or None where it is not read. An integral needs its differential."""
    if r"\int" in text and not _DIFFERENTIAL.search(text):
        return None
    found = parse(f"${text.strip().strip('$')}$", _LATEX_ONLY, "no_fallback", parsing_timeout=None)
    return found[0] if found and isinstance(found[0], sympy.Basic | sympy.MatrixBase) else None


def _close(left: Any, right: Any) -> bool:
    """Whether the difference of two scalars is zero relative to them, at some points where they have variables."""
    if not (isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr)):
        return True
    left, right = (_rational(side.doit()) for side in (left, right))
    draw = random.Random(20250122)
    for _ in range(POINTS):
        point = {s: sympy.Rational(draw.randint(1, 9973), 3989) for s in left.free_symbols | right.free_symbols}
        a, b = (sympy.N(side.subs(point), DIGITS) for side in (left, right))
        difference = sympy.N((left - right).subs(point), DIGITS)
        if not (a.is_number and b.is_number and abs(difference) <= sympy.Float(10) ** -30 * max(abs(a), abs(b))):
            return False
    return True


def _rational(expression: Any) -> Any:
    """`expression` with every decimal as the fraction that it was written as."""
    return expression.xreplace({f: sympy.Rational(str(f)) for f in expression.atoms(sympy.Float)})
