"""Graders for the questions of reasoning-gym: an answer is read to a key, and is right where the gold has the same.

    GRADERS["number"].key("The sum is 3,037.")      # "3037"
    GRADERS["number"].wrong("3037")                 # "3038"

reasoning-gym's own scorers are not used: nine of them execute the answer, others give credit for junk or crash on it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from aha.tasks.number import read_number

MAX_LENGTH = 2_000  # characters of an answer
DIGITS = 10  # significant digits of a decimal that are compared; questions ask for 12

_FRACTION = re.compile(
    r"\\[dt]?frac\{(-?[0-9]{1,30})\}\{([0-9]{1,30})\}|(-?[0-9]{1,30})\s?/\s?([0-9]{1,30})|(-?[0-9]{1,30})"
)
_BASE_DIGITS = re.compile(r"(?:0[xob])?([0-9a-z]{1,100})(?:_\{?[0-9]{1,2}\}?)?")
_YES_NO = re.compile(r"\b(yes|no)\b")
_DURATION = re.compile(
    r"(?:([0-9]{1,6}) ?days?,? ?)?(?:([0-9]{1,4}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,3}))?)?)?"
)


@dataclass(frozen=True, slots=True)
class Grader:
    """`key` is the class of an answer (None: it cannot be read), `wrong` another answer of the gold's form."""

    key: Callable[[str], str | None]
    wrong: Callable[[str], str]


def plain(text: str) -> str:
    """`text` on one line, without the marks that stand around it."""
    line = " ".join(unicodedata.normalize("NFKC", text[: MAX_LENGTH + 1]).split())
    return line.strip("*`$\"'“”‘’ ").removesuffix(".").strip("*`$\"'“”‘’ ")


def number_key(answer: str) -> str | None:
    """The one number, exactly."""
    value = read_number(answer)
    return None if value is None else str(value)


def decimal_key(answer: str) -> str | None:
    """The one number to `DIGITS` significant digits."""
    value = read_number(answer)
    if value is None:
        return None
    if not value:
        return "0"
    places = DIGITS - len(str(int(abs(value)))) if abs(value) >= 1 else _small(value)
    return str(round(value, places))


def _small(value: Fraction) -> int:
    """Decimal places that show `DIGITS` digits of a value below 1."""
    return DIGITS - 1 - math.floor(math.log10(abs(value))) if abs(value) > Fraction(1, 10**300) else 310


def fraction_key(answer: str) -> str | None:
    """A fraction in lowest terms as it stands; one that can be reduced is another answer."""
    found = _FRACTION.fullmatch(plain(answer))
    if found is None:
        return None
    above, below = (found[1] or found[3] or found[5]), (found[2] or found[4] or "1")
    return f"{int(above)}/{int(below)}" if int(below) else None


def digits_key(answer: str) -> str | None:
    """A number in any base, digit by digit."""
    found = _BASE_DIGITS.fullmatch(plain(answer).casefold().replace(",", ""))
    return (found[1].lstrip("0") or "0") if found else None


def word_key(answer: str) -> str | None:
    """One word or line, whatever the case."""
    return plain(answer).casefold() or None if len(answer) <= MAX_LENGTH else None


def list_key(answer: str) -> str | None:
    """Words between commas, in brackets or not, in their own case."""
    if len(answer) > MAX_LENGTH:
        return None
    words = [word.strip(" '\"") for word in plain(answer).strip("[]()").split(",")]
    return ",".join(words) if all(words) else None


def yes_no_key(answer: str) -> str | None:
    """Yes or no, said once or more but never both."""
    said = set(_YES_NO.findall(plain(answer).casefold())) if len(answer) <= MAX_LENGTH else set()
    return said.pop() if len(said) == 1 else None


def duration_key(answer: str) -> str | None:
    """`2 days, 01:04:00`, `03:30` or `00:00:01.500` as milliseconds."""
    text = plain(answer).casefold()
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:4])
    milliseconds = int((found[5] or "0").ljust(3, "0"))
    return str((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + milliseconds)


def _next_number(gold: str) -> str:
    value = read_number(gold)
    assert value is not None, "a gold answer has a key"
    return str(value + 1)


def _next_decimal(gold: str) -> str:
    value = read_number(gold)
    assert value is not None, "a gold answer has a key"
    return f"{float(value + 1):.12g}"


def _unreduced(gold: str) -> str:
    above, _, below = (fraction_key(gold) or "").partition("/")
    return f"{2 * int(above)}/{2 * int(below)}"


def _next_digits(gold: str) -> str:
    return f"{plain(gold)}1"


def _other_word(gold: str) -> str:
    text = plain(gold)
    return text[::-1] if word_key(text[::-1]) != word_key(gold) else f"{text}s"


def _rotated(gold: str) -> str:
    words = plain(gold).split(", ")
    return ", ".join([*words[1:], *words[:1]]) if len(set(words)) > 1 else f"{gold}, {gold}"


def _opposite(gold: str) -> str:
    return "No" if yes_no_key(gold) == "yes" else "Yes"


def _later(gold: str) -> str:
    return f"1 day, {gold}" if "day" not in gold else f"1{gold.strip()}"


GRADERS: dict[str, Grader] = {
    "number": Grader(number_key, _next_number),
    "decimal": Grader(decimal_key, _next_decimal),
    "fraction": Grader(fraction_key, _unreduced),
    "digits": Grader(digits_key, _next_digits),
    "word": Grader(word_key, _other_word),
    "list": Grader(list_key, _rotated),
    "yes_no": Grader(yes_no_key, _opposite),
    "duration": Grader(duration_key, _later),
}
