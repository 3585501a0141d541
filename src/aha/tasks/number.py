"""The one number of an answer, as untrusted text: `$1,234.50`, `18 dollars`, `-3/4`, `50%`. Exact, never by `eval`."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

MAX_LENGTH = 1000  # characters; no answer that is one number is longer
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(rf"(?P<above>{_DIGITS})(?:\s*/\s*(?P<below>{_DIGITS}))?")
_FRACTION = re.compile(r"\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_REPLACED = {"\\,": "", "\\!": "", "{,}": ",", "\\%": "%", "\\$": "", "$": "", "⁄": "/"}
_MINUS = str.maketrans(dict.fromkeys("−‐‑–", "-"))
_OPERATIONS = ("^", "√", "\\sqrt", "\\frac", "\\dfrac", "\\tfrac", "≠", "±")  # what they make of a number is not read


def read_number(text: str) -> Fraction | None:
    """The value of the only number in `text`, or None where it holds none, several, or one that is not understood.

    Words, currency and `%` around the number are passed over; `50%` is 50. Powers and roots are not understood.
    """
    plain = _plain(text)
    if plain is None or any(mark in plain for mark in _OPERATIONS):
        return None
    found = _NUMBER.search(plain)
    if found is None or re.search("[0-9]", plain[found.end() :]):
        return None
    value = Fraction(found["above"].replace(",", ""))
    if found["below"]:
        below = Fraction(found["below"].replace(",", ""))
        if not below:
            return None
        value /= below
    return -value if _is_negative(plain[: found.start()]) else value


def _plain(text: str) -> str | None:
    """`text` in plain characters: `１８` is 18, `½` is 1/2; None where it is too long or holds a raised digit."""
    if len(text) > MAX_LENGTH:
        return None
    kinds = [unicodedata.decomposition(c).partition(" ")[0] for c in text]
    if any(kind in ("<super>", "<sub>") for kind in kinds):
        return None
    # A space keeps the 3 of `3½` apart: it is not 31/2.
    text = "".join(" " + c if kind == "<fraction>" else c for c, kind in zip(text, kinds, strict=True))
    text = unicodedata.normalize("NFKC", text.translate(_MINUS)).translate(_MINUS)
    for mark, plain in _REPLACED.items():
        text = text.replace(mark, plain)
    return _FRACTION.sub(r"\1/\2", text)


def _is_negative(before: str) -> bool:
    """Whether what stands before a number ends in a minus sign, not in a hyphen or a dash."""
    return before.strip() == "-" or (before.endswith("-") and not re.search(r"[A-Za-z0-9)]-$", before))
