"""Measurements of a response's text: reflection words, mixed languages, arithmetic. Metrics, never a reward.

All are deterministic and take time in proportion to the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aha.rewards.prose import prose
from aha.tasks.expression import evaluate

# DeepSeek-R1, arXiv 2501.12948 v2, appendix C.2; the Chinese ones are their counterparts.
REFLECTION_EN = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
REFLECTION_ZH = (
    "等等", "等一下", "错误", "然而", "但是", "不过", "重试", "验证", "不对", "错了", "评估", "检查",
)  # fmt: skip
REFLECTION = re.compile(
    rf"(?<![a-z])(?:{'|'.join(REFLECTION_EN)})(?![a-z])|{'|'.join(sorted(REFLECTION_ZH, key=len, reverse=True))}",
    re.IGNORECASE | re.ASCII,
)

_TURNING = frozenset(("wait", "however", "but", "mistake", "retry", "等等", "等一下", "然而", "但是", "不过", "重试"))

_LATIN_WORD = re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏ]{2,}")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

_LATEX_OPERATOR = re.compile(r"\\(?:times|cdot|div)(?![a-z])", re.ASCII)
_CROSS = re.compile(r"(?<=[0-9)])([ \t]*)[xX](?=[ \t]*[0-9(])")  # `60 x 3`
_TOKEN = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+(?:\.[0-9]+)?|\*\*|\n|[^\S\n]+|.", re.DOTALL)
_OPERATORS = frozenset("+-*/×÷−")
_MINUS = frozenset("-−")
_BEFORE_SIGN = frozenset("\n(=>:：,，;；。、")  # a minus after one of these is a sign or a bullet
SIDE = 60  # tokens; a longer side makes no claim


def reflection_words(text: str) -> int:
    """Places where the text turns back on itself: whole English words in any case, Chinese words as they stand."""
    return sum(1 for _ in REFLECTION.finditer(text))


def turns_back(text: str) -> bool:
    """Whether the text gives up a way for another one, aloud; going over a result once more is not that."""
    return any(match[0].lower() in _TURNING for match in REFLECTION.finditer(text))


def mixes_languages(text: str) -> bool:
    """Whether prose in Latin script (a word of two letters or more) and in Han stand in one text.

    Tags, code, formulas and LaTeX commands are not prose: `设 x=3，求 \\sin x` is not mixed.
    """
    plain = prose(text)
    return bool(_LATIN_WORD.search(plain) and _HAN.search(plain))


def claims(text: str) -> list[tuple[str, bool]]:
    """Every claim `a op b = c` on whole numbers, with whether it is true; in `3*5=15+7=22` there are two.

    A side may be any chain with brackets. No claim is made where a side goes on in something else than whole numbers
    (`x+3`, `2.5*3`, `2^3+1`) or has no exact value (`3/0`).
    """
    text = _LATEX_OPERATOR.sub(lambda m: "/" if m[0] == "\\div" else "*", text)
    text = _CROSS.sub(r"\1*", text)
    tokens = [m for m in _TOKEN.finditer(text) if m[0] == "\n" or not m[0].isspace()]
    words = [m[0] for m in tokens]
    found: list[tuple[str, bool]] = []
    for place, word in enumerate(words):
        if word != "=":
            continue
        left, right = _left(tokens, place), _right(tokens, place)
        if left is None or right is None or _OPERATORS.isdisjoint(words[left + 1 : place]):
            continue
        a, c = (evaluate("".join(side).replace(",", "")) for side in (words[left:place], words[place + 1 : right]))
        if a is not None and c is not None:
            found.append((text[tokens[left].start() : tokens[right - 1].end()], a.value == c.value))
    return found


def arithmetic_right(texts: Iterable[str]) -> tuple[int, int]:
    """How many claims of all `texts` are true, and how many there are."""
    truths = [true for text in texts for _, true in claims(text)]
    return sum(truths), len(truths)


def _is_whole(word: str) -> bool:
    return "0" <= word[0] <= "9" and "." not in word


def _glued(tokens: list[re.Match[str]], first: int) -> bool:
    """Whether nothing stands between token `first` and the next one."""
    return tokens[first].end() == tokens[first + 1].start()


def _scan(tokens: list[re.Match[str]], equals: int, step: int) -> tuple[int, int, bool] | None:
    """Read one side outwards from `equals`: its last token, the place where reading stopped, whether an operator hangs.

    None where no expression is whole. `step` is -1 for the left side, 1 for the right, which may begin with a sign.
    """
    opening, closing = "()" if step > 0 else ")("
    last, depth, awaited = None, 0, True  # awaited: an operand
    place = equals + step
    while 0 <= place < len(tokens):
        word = tokens[place][0]
        if awaited and _is_whole(word):
            awaited = False
        elif awaited and word == opening:
            depth += 1
        elif not awaited and depth and word == closing:
            depth -= 1
        elif not awaited and word in _OPERATORS:
            awaited = True
        elif not (place == equals + 1 and word in _MINUS):
            break
        last = place if depth == 0 and not awaited else last
        place += step
    return None if last is None or depth or abs(last - equals) > SIDE else (last, place, awaited)


def _left(tokens: list[re.Match[str]], equals: int) -> int | None:
    """Where the expression that ends before `equals` begins, or None where there is no whole one."""
    found = _scan(tokens, equals, -1)
    if found is None:
        return None
    begin, stop, awaited = found
    return _with_sign(tokens, begin, stop) if awaited else _unless_glued(tokens, begin, stop)


def _with_sign(tokens: list[re.Match[str]], begin: int, stop: int) -> int | None:
    """An operator stands before `begin`, and `stop` before it: a sign, a bullet, or the rest of something else."""
    operator = tokens[begin - 1][0]
    if stop >= 0 and tokens[stop][0] not in _BEFORE_SIGN:
        return None
    if _glued(tokens, begin - 1):
        return begin - 1 if operator in _MINUS else None
    return begin if operator in "-*+" else None


def _unless_glued(tokens: list[re.Match[str]], begin: int, stop: int) -> int | None:
    """`begin`, unless token `stop` before it makes another value of it (`x3`, `2^3`, `1 1/2`, `2(3+4)`)."""
    if stop < 0:
        return begin
    word = tokens[stop][0]
    letter = word.isascii() and word.isalpha() and _glued(tokens, stop)
    product = "0" <= word[0] <= "9" or (word == ")" and tokens[begin][0] == "(")
    base = tokens[stop - 1][0] if stop else " "
    power = word in "^_√" or (word == "**" and (_is_whole(base) or base == ")"))
    decimal = word == "." and _glued(tokens, stop) and not (base.isalpha() and _glued(tokens, stop - 1))
    return None if letter or product or power or decimal else begin


def _right(tokens: list[re.Match[str]], equals: int) -> int | None:
    """Where the expression that begins after `equals` ends (exclusive), or None where there is no whole one."""
    found = _scan(tokens, equals, 1)
    if found is None:
        return None
    last, stop, awaited = found
    end = last + 1
    if stop == len(tokens):
        return end
    word = tokens[stop][0]
    if awaited:  # `7-x` is no whole number, `7 - next` is
        return None if word != "\n" and _glued(tokens, stop - 1) else end
    power = word in "^%" or (word == "**" and stop + 1 < len(tokens) and _is_whole(tokens[stop + 1][0]))
    return None if power or "0" <= word[0] <= "9" else end
