"""A response's prose, without what is of no language: tags, code, formulas, addresses; and the part that a user reads.

    prose("由 $x^2=9$ 得 `x` 为 3")    # "由   得   为 3"
    final_text(rollout)               # what follows the thinking

Everything takes time in proportion to the text, whatever it holds.
"""

from __future__ import annotations

import re

from aha.types import Rollout

_TAG = re.compile(r"</?[a-z]+>|<\|[^<>|]*\|>", re.IGNORECASE | re.ASCII)
_INLINE_CODE = re.compile(r"`[^`\n]*`")
# Python without marks: `[i+1 for i in s if i>5]`, and the names of calls, as in `max(s)` and `s.count('a')`. Parts are
# short, so that little prose can be passed off as code.
_LOOP = re.compile(
    r"\[(?:[!-~]{0,24}\W)?([a-z])(?:\W[!-~]{0,24})? for \1 in [!-~]{1,24}(?: if [!-~]{1,24})?\]", re.ASCII
)
_CALL = re.compile(
    r"(?<![A-Za-z])(?:(?:abs|all|any|dict|divmod|enumerate|filter|float|int|len|list|map|max|min|pow|print|range|"
    r"reversed|round|set|sorted|str|sum|tuple|zip)|(?<=\.)(?:append|count|endswith|extend|find|index|insert|items|join|"
    r"keys|lower|pop|replace|reverse|sort|split|startswith|strip|upper|values))(?=\()"
)
_ADDRESS = re.compile(r"https?://[\w./?&=%#:@~+-]+", re.IGNORECASE | re.ASCII)
_ENVIRONMENT = re.compile(r"\\(begin|end)\{[a-z]{1,20}\*?\}", re.IGNORECASE | re.ASCII)
_TIGHT_DOLLARS = re.compile(r"\$(?=\S)([^$]*)(?<=\S)\$(?!\d)")
_DOLLARS = re.compile(r"\$([^$]*)\$(?!\d)")
_COMMAND = re.compile(r"\\[a-z]+", re.IGNORECASE | re.ASCII)
_COMMAND_TEXT = re.compile(r"\\[a-z]+\*?(?:\{[^{}\n]*\})?", re.IGNORECASE | re.ASCII)
_WORD = re.compile(r"[^\W\d_]{3}|[\u0400-\U0003ffff]")  # Greek is below: it stands in formulas


def prose(text: str) -> str:
    """`text` with a space in place of each tag, piece of code, formula, LaTeX command and web address.

    `$` is a mark of formulas only where no prose stands between two of them: `$10 and then $20` stays.
    """
    text = cut(text, "```", "```", to_end=True)
    text = _ENVIRONMENT.sub(lambda m: "\\[" if m[1].lower() == "begin" else "\\]", text)
    text = cut(cut(text, "\\(", "\\)"), "\\[", "\\]")
    text = cut(text, "$$", "$$")
    text = _DOLLARS.sub(_loose_formula, _TIGHT_DOLLARS.sub(_tight_formula, text))
    text = _CALL.sub(" ", _LOOP.sub(" ", _INLINE_CODE.sub(" ", _TAG.sub(" ", text))))
    return _COMMAND.sub(" ", _ADDRESS.sub(" ", text))


def final_text(rollout: Rollout) -> str | None:
    """What a user reads: the text after the thinking, out of its `<answer>` tags; None where the thinking never ends.

    A response that does not think at all is read whole.
    """
    text = rollout.text
    if "</think>" not in text and text and rollout.parsed.reasoning == text:
        return None
    return final_text_of(text)


def final_text_of(text: str) -> str | None:
    """The same of a response as a text; where the template opened the thinking, it has to begin with `<think>`."""
    _, closed, rest = text.rpartition("</think>")
    if not closed and "<think>" in text:
        return None
    return rest.strip().removeprefix("<answer>").removesuffix("</answer>").strip()


def cut(text: str, opening: str, closing: str, to_end: bool = False) -> str:
    """`text` with a space for what stands between the marks; an unclosed rest is cut only with `to_end`."""
    kept: list[str] = []
    place = 0
    while (begin := text.find(opening, place)) >= 0:
        end = text.find(closing, begin + len(opening))
        if end < 0:
            return "".join(kept) + (text[place:begin] if to_end else text[place:])
        kept += (text[place:begin], " ")
        place = end + len(closing)
    return "".join(kept) + text[place:]


def _tight_formula(match: re.Match[str]) -> str:
    """Nothing for `$x^2$` and `$\\text{speed}$`; `$10, then tea,$` stays."""
    return " " if "\\" in match[1] or not _WORD.search(match[1]) else match[0]


def _loose_formula(match: re.Match[str]) -> str:
    """Nothing for `$ \\frac{a}{b} $`; what stands between two amounts of money stays."""
    return match[0] if _WORD.search(_COMMAND_TEXT.sub(" ", match[1])) else " "
