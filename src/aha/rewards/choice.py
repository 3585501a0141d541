"""Multiple choice: which of 2 to 26 lettered options an answer names.

    options = {"A": "12", "B": "13", "C": "14"}
    read_choice("The answer is (C).", options)      # "C"; so do "C", "c)", "C) 14" and "14"
    read_choice("B or C", options)                  # None: two letters
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence

from aha.errors import UserError
from aha.types import Outcome, Score

MAX_LENGTH = 2_000  # characters; an answer that names an option is not longer

Options = Mapping[str, str] | Sequence[str]

_COMMAND = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|boxed)\{([^{}]*)\}")
_MARKS = "*_`$\"'“”‘’"
_LABELLED = re.compile(  # `C - 14`, `C) 14`, `(c) 14`, `c. 14`; not `c - d`
    r"([A-Z])\s?[).:,\-–—]{1,3}\s|\(([A-Za-z])\)[.:,]?\s?[\-–—]?\s?|([A-Za-z])[).]\s?|([A-Z]):"
)
_CUE = re.compile(
    r"(?:\b(?:answer|option|choice|choose|chose|pick|select|correct)\b|答案|选项|选择|选)"
    r"(?:\s|:|=|\b(?:is|are|was|would|be|the|it|letter|option|choice|answer)\b|是|为|应|项){0,8}",
    re.IGNORECASE,
)
_MENTION = re.compile(r"(?<![A-Za-z0-9'’.])(\(?)([A-Z])(\)?)(?![A-Za-z0-9'’])")


def lettered(options: Options) -> dict[str, str]:
    """The options by letter; a plain list is lettered from A. Raises UserError where there are not 2 to 26."""
    if not isinstance(options, Mapping):
        options = dict(zip(string.ascii_uppercase, options, strict=False)) if len(options) <= 26 else {}
    found = {str(letter).strip().upper(): str(text) for letter, text in options.items()}
    if not 2 <= len(found) <= 26 or not all(len(letter) == 1 and "A" <= letter <= "Z" for letter in found):
        raise UserError(f"options are lettered {', '.join(map(str, options)) or 'too long'}; give 2 to 26, A to Z")
    return found


def read_choice(answer: str, options: Options) -> str | None:
    """The letter of the option that `answer` names, or None where it names none or several.

    Read are the letter alone (`C`, `(c)`, `C.`), the letter before an explanation (`C) 14`), the letter after words
    such as "answer", "option" or 答案 (`The answer is C`), and the text of one option exactly. A letter with another
    option's text is refused. Raises UserError for options that cannot be lettered.
    """
    choices = lettered(options)
    plain = _plain(answer)
    if plain is None:
        return None
    letter = re.fullmatch(r"[(\[]?([A-Za-z])[)\]]?[.:,]?", plain)
    if letter and letter[1].upper() in choices:
        return letter[1].upper()
    spoken = _CUE.match(plain) or re.match(r"the\s+(?:correct\s+)?answer\s+is\s*:?\s*", plain, re.IGNORECASE)
    return (
        _by_text(plain, choices)
        or (_by_text(plain[spoken.end() :], choices) if spoken else None)
        or _by_label(plain, choices)
        or _by_mention(plain, choices)
    )


def grade_choice(answer: str | None, options: Options, reference: str) -> Outcome:
    """1 where `answer` names the option `reference`, a letter."""
    if answer is None:
        return Score(0.0, "no answer")
    chosen = read_choice(answer, options)
    if chosen is None:
        return Score(0.0, f"names no single one of the options {', '.join(lettered(options))}: {answer[:60]!r}")
    return Score(float(chosen == reference.strip().upper()), f"chose {chosen}, expected {reference}")


def _plain(text: str) -> str | None:
    """`text` on one line without marks around it; None where it is too long."""
    if len(text) > MAX_LENGTH:
        return None
    text = _COMMAND.sub(r"\1", unicodedata.normalize("NFKC", text).replace("**", "").replace("$", ""))
    return " ".join(text.split()).strip(_MARKS).strip()


def _same(text: str) -> str:
    return (_plain(text) or "").casefold().rstrip(".。").strip(_MARKS)


def _by_text(plain: str, choices: Mapping[str, str]) -> str | None:
    wanted = _same(plain)
    found = [letter for letter, text in choices.items() if wanted and _same(text) == wanted]
    return found[0] if len(found) == 1 else None


def _by_label(plain: str, choices: Mapping[str, str]) -> str | None:
    """`C) 14`, `C: because ...`: a letter set off from what follows, which names no other option."""
    label = _LABELLED.match(plain)
    if label is None:
        return _by_letter_and_text(plain, choices)
    letter, rest = next(group for group in label.groups() if group).upper(), plain[label.end() :]
    if letter not in choices or _named(rest, choices) - {letter}:
        return None
    other = _by_text(rest, choices)
    return letter if other in (None, letter) or _same(rest) == _same(choices[letter]) else None


def _by_letter_and_text(plain: str, choices: Mapping[str, str]) -> str | None:
    """`C 14`, where 14 is what C says."""
    letter, _, rest = plain.partition(" ")
    return letter if letter in choices and rest and _same(rest) == _same(choices[letter]) else None


def _by_mention(plain: str, choices: Mapping[str, str]) -> str | None:
    """`The answer is C`: one letter after a cue or in brackets, and no other one anywhere."""
    cues = {cue.end() for cue in _CUE.finditer(plain)}
    marked = {m[2] for m in _MENTION.finditer(plain) if m[2] in choices and (m.start() in cues or (m[1] and m[3]))}
    if len(marked) != 1 or _named(plain, choices) - marked:
        return None
    letter = marked.pop()
    tail = re.search(rf"(?<![A-Za-z0-9])\(?{letter}\)?\s*[):.,\-–—]?\s*(?:\(([^()]*)\)|(.*))$", plain)
    other = _by_text((tail[1] or tail[2] or "").rstrip("."), choices) if tail else None
    return letter if other in (None, letter) else None


def _named(text: str, choices: Mapping[str, str]) -> set[str]:
    """The options whose letters stand alone in `text`; the words `A` and `I` before a word are no letters."""
    return {
        m[2]
        for m in _MENTION.finditer(text)
        if m[2] in choices and (m[1] or m[3] or m[2] not in "AI" or not re.match(r" [a-z]{2}", text[m.end() :][:3]))
    }
