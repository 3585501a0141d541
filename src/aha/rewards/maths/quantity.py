r"""One value as people write it: `x = 5`, `12 cm`, `\$32,348`, `The answer is 42.`, `50\%`, `1 \approx 0.99`.

    read("x = 12\\text{ cm}")  -> Quantity(sides=(12,), unit="cm")

What stands around the value is understood, not searched through: a number in the midst of other words is not found.

* A name before `=` is dropped (`x =`, `f(3) =`, `\angle A =`). Where several sides remain, all must be right.
* What stands after `\approx` is left aside where something exact stands before it.
* Words after the value are its unit. A unit that either side leaves out is not asked for; two different ones differ.
  Only units that are known by name are compared: `12 sides` is `12 edges`.
* `%` is 1/100 and a degree is pi/180; both are also units, which a question may have named. So `50\%` is 1/2, and is
  50 as well; `90^\circ` is `\pi/2`, and is 90. A bare 50 is not 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aha.rewards.maths.normalise import Tokens, Unreadable
from aha.rewards.maths.syntax import Node, is_letter, is_number, number, parse


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How two trees are compared: `equal` and `less`, which raise where they cannot decide."""

    equal: Callable[[Node, Node], bool]
    less: Callable[[Node, Node], bool]
    proportional: Callable[[Node, Node], int]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value, by all the sides of an equation that were given for it, and its unit ("" where there is none)."""

    sides: tuple[Node, ...]
    unit: str = ""

    @property
    def value(self) -> Node:
        return self.sides[-1]


_LEADING = frozenset(
    ("the", "final", "answer", "is", "are", "equals", "equal", "to", "total", "result", "value", "so", "therefore",
     "thus", "hence", "it", "its", "答案是", "答案", "答案为", "是", "为", "共", "等于", "共有")
)  # fmt: skip
_TIMES = {
    "dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8,
}
_NOT_A_UNIT = frozenset(
    ("and", "or", "not", "no", "more", "less", "than", "least", "most", "minus", "plus", "times", "squared", "cubed",
     "half", "halves", "third", "thirds", "quarter", "quarters", "fourths", "fifths", "if", "when", "for", "where",
     "but", "to", "over", "under", "below", "above", "power", "base", "divided", "multiplied", "remainder", "error",
     "wrong", "maybe", "until", "through", "except")
)  # fmt: skip
_UNITS = {
    alias: unit
    for unit, aliases in {
        "degree": "degree degrees deg 度",
        "percent": "percent pct",
        "radian": "radian radians rad",
        "dollar": r"dollar dollars usd \$ 美元",
        "cent": "cent cents",
        "euro": r"euro euros eur \euro 欧元",
        "pound sterling": r"\pounds gbp",
        "yuan": r"yuan \yen rmb cny 元",
        "mm": "mm millimeter millimeters millimetre millimetres 毫米",
        "cm": "cm centimeter centimeters centimetre centimetres 厘米",
        "dm": "dm decimeter decimeters 分米",
        "m": "m meter meters metre metres 米",
        "km": "km kilometer kilometers kilometre kilometres 千米 公里",
        "inch": "in inch inches",
        "foot": "ft foot feet",
        "yard": "yd yard yards",
        "mile": "mi mile miles",
        "mg": "mg milligram milligrams",
        "g": "g gram grams 克",
        "kg": "kg kilogram kilograms 千克 公斤",
        "ounce": "oz ounce ounces",
        "pound": "lb lbs pound pounds",
        "ms": "ms millisecond milliseconds",
        "second": "s sec second seconds 秒",
        "minute": "min minute minutes 分钟",
        "hour": "h hr hrs hour hours 小时",
        "day": "day days 天",
        "week": "week weeks 周",
        "month": "month months 个月",
        "year": "year years 年",
        "ml": "ml milliliter milliliters 毫升",
        "liter": "l liter liters litre litres 升",
        "mph": "mph",
    }.items()
    for alias in aliases.split()
}
_PLAIN = frozenset(("-", "/", r"\frac", "{", "}", "(", ")"))  # what a number before a mark is made of
_LETTER_UNITS = frozenset("mgshlL")
_DIMENSIONS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}


def read(found: Tokens, *, letter_units: bool = False) -> Quantity:
    """The quantity that the tokens spell. `letter_units`: `12 m` are metres, no product.

    Raises Unreadable, with the reason, where they are anything else.
    """
    found = without_leading_words(found)
    if len(found) > 2 and found[0] == r"\{" and found[-1] == r"\}":
        found = found[1:-1]  # the set of one value
    exact, *approximate = split(found, (r"\approx",))
    sides = [side for side in split(exact, ("=",)) if side]
    if sides and is_name(sides[0]) and (len(sides) > 1 or approximate):
        sides = sides[1:]
    elif len(sides) > 1 and is_name(sides[-1]) and sides[-1] not in (("e",), ("i",)):
        sides = sides[:-1]  # `5 = x`
    if not sides:
        sides = [tuple(side) for side in approximate[:1]]
    if not sides:
        raise Unreadable("it is empty")
    pieces = [_value_and_unit(side, letter_units) for side in sides]
    return Quantity(tuple(value for value, _ in pieces), next((unit for _, unit in reversed(pieces) if unit), ""))


def same(gold: Quantity, answer: Quantity, arithmetic: Arithmetic) -> bool:
    """Whether every side that `answer` gives equals the value of `gold`, in the same unit where both name one."""
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    as_unit = not (gold.unit or answer.unit)
    return all(_same_value(gold.value, side, as_unit, arithmetic) for side in answer.sides)


def _same_value(gold: Node, answer: Node, as_unit: bool, arithmetic: Arithmetic) -> bool:
    """Equality, with `%` and degrees read as a value, or `as_unit` where one of the two leaves them out."""
    one_marked = bool(_marked(gold)) != bool(_marked(answer))
    if as_unit and one_marked and arithmetic.equal(_without_mark(gold), _without_mark(answer)):
        return True
    return arithmetic.equal(gold, answer)


def _marked(tree: Node) -> str:
    """"percent" or "degree" where the tree ends in that mark."""
    if tree.head == "negative":
        return _marked(tree.args[0])
    return tree.head if tree.head in ("percent", "degree") else ""


def _without_mark(tree: Node) -> Node:
    if tree.head == "negative":
        return Node("negative", (_without_mark(tree.args[0]),))
    return tree.args[0] if _marked(tree) else tree


def without_leading_words(found: Tokens) -> Tokens:
    """The tokens after `The final answer is:`."""
    place = 0
    while place < len(found) and (word := found[place].lower())[0] in '":' and word.lstrip('":') in _LEADING | {""}:
        place += 1
    return found[place:] if place < len(found) else found


def _value_and_unit(found: Tokens, letters: bool) -> tuple[Node, str]:
    found, unit = _split_unit(found, letters)
    times = 1
    while len(found) > 1 and found[-1].lstrip('"').lower() in _TIMES and found[-1][0] == '"':
        times *= _TIMES[found[-1][1:].lower()]
        found = found[:-1]
    mark = {"%": "percent", "°": "degree"}.get(found[-1]) if found else None
    if mark and len(found) > 1 and all(is_number(t) or t in _PLAIN for t in found[:-1]):
        tree = Node(mark, (parse(found[:-1]),))  # `1/2%` is half of a hundredth
    else:
        tree = parse(found)
    if times > 1:
        tree = Node("multiply", (tree, number(Fraction(times))))
    if unit in ("degree", "percent") and not _marked(tree):
        return Node(unit, (tree,)), ""
    return tree, unit


def _split_unit(found: Tokens, letters: bool) -> tuple[Tokens, str]:
    """The tokens without currency signs and the words that follow the value, and the unit that they name."""
    unit = ""
    if found and _UNITS.get(found[0]) and found[0][0] == "\\":
        unit, found = _UNITS[found[0]], found[1:]
    elif len(found) > 1 and found[0] == "-" and found[1] == r"\$":
        unit, found = "dollar", ("-", *found[2:])
    begin = len(found)
    while begin > 1 and _is_unit_part(found, begin - 1, letters):
        begin -= 1
    words = [token.lstrip('"').lower() for token in found[begin:]]
    if any(word in _NOT_A_UNIT for word in words):
        return found, unit
    while begin < len(found) and words[begin - len(found)] in _TIMES:
        begin += 1
    return found[:begin], _unit_name(found[begin:]) or unit


def _is_unit_part(found: Tokens, place: int, letters: bool) -> bool:
    """Whether the token belongs to a unit: a word, a currency sign, the power of a word, `/` between two words."""
    token, before = found[place], found[max(0, place - 3) : place]
    if token[0] == '"' or (token[0] == "\\" and token in _UNITS):
        return True
    if token == "/":
        return before[-1:] != () and before[-1][0] == '"'
    for power in (("^",), ("^", "2"), ("^", "3"), ("^", "{"), ("^", "{", "2"), ("^", "{", "3")):
        if (*before, token)[-len(power) :] == power:
            return place >= len(power) and found[place - len(power)][0] == '"'
    if token == "}":
        return before[:2] == ("^", "{") and place > 3 and found[place - 4][0] == '"'
    if token in _LETTER_UNITS and before[-1] == "/" and before[-2:-1] != () and before[-2][0] == '"':
        return True
    last = place == len(found) - 1
    return letters and last and token in _LETTER_UNITS and is_number(before[-1])


def _unit_name(found: Sequence[str]) -> str:
    """`square inches` and `in^2` as "inch^2"; "" for words that name no known unit."""
    dimension, names = 1, []
    for place, token in enumerate(found):
        word = token.lstrip('"')
        if word.lower() in _DIMENSIONS:
            dimension = _DIMENSIONS[word.lower()]
        elif token == "^":
            dimension = next((int(t) for t in found[place:] if t in ("2", "3")), 1)
        elif word == "/" or word.lower() == "per":
            names.append("/")
        elif unit := _UNITS.get(word) or _UNITS.get(word.lower()):
            names.append(unit)
    if not any(name != "/" for name in names):
        return ""
    return " ".join(names) + (f"^{dimension}" if dimension > 1 else "")


def is_name(found: Tokens) -> bool:
    r"""Whether the tokens name what is asked for: `x`, `x_1`, `f(3)`, `AB`, `\angle ABC`, `\text{Area}`."""
    letters = [t for t in found if is_letter(t) or t[0] == '"' or t in (r"\angle", r"\triangle", r"\overline")]
    if not letters or letters[0] != found[0]:
        return False
    depth = 0
    after_index = False
    for token in found:
        if token in ("(", "{"):
            depth += 1
        elif token in (")", "}"):
            depth -= 1
        elif depth == 0 and not (token in letters or token in ("_", "'") or after_index):
            return False
        after_index = token == "_"
    return depth == 0


def split(found: Tokens, separators: Sequence[str]) -> list[Tokens]:
    """The parts between separators that stand in no bracket."""
    parts: list[Tokens] = []
    begin = depth = 0
    for place, token in enumerate(found):
        if token in ("(", "[", "{", r"\{", r"\langle"):
            depth += 1
        elif token in (")", "]", "}", r"\}", r"\rangle"):
            depth -= 1
        elif depth == 0 and token in separators:
            parts.append(found[begin:place])
            begin = place + 1
    return [*parts, found[begin:]]
