r"""Untrusted text of an answer as a short list of canonical tokens: one spelling for what means the same.

    tokens(r"\dfrac{1}{2}\text{ cm}")  -> ('\\frac', '{', '1', '}', '{', '2', '}', '"cm')
    tokens("１,000．")                  -> ('1000',)

A token is a number (`12.5`, `1/3` for 0.\overline{3}), a letter, a command (`\frac`), a word (`"cm`: a quotation mark
before it), a relation (`<=`) or a sign. Full-width characters, the many minus signs, thousands separators, LaTeX
spacing, `\left` and `\right`, `$..$`, `**..**` and text boxes are gone. Nothing here is evaluated, and time grows with
the length, which is capped.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

MAX_LENGTH = 4000  # characters of an answer
MAX_TOKENS = 2500
MAX_DIGITS = 1000  # of one number, and the greatest decimal exponent
Tokens = tuple[str, ...]


class Unreadable(ValueError):
    """The text is no answer of the kind that is wanted; the sentence says what is wrong with it."""


_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑﹣", "-"),
        **dict.fromkeys("·⋅∙×✕∗", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("°º˚", "°"),
        **dict.fromkeys("，、", ","),
        "π": r"\pi ", "∞": r"\infty ", "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ",
        "≤": "<=", "≥": ">=", "≠": r"\ne ", "≈": r"\approx ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}",
        "⟨": r"\langle ", "⟩": r"\rangle ", "∖": r"\setminus ", "；": ";", "：": ":", "。": ".",
        "€": r"\euro ", "£": r"\pounds ", "¥": r"\yen ", "￥": r"\yen ", "∠": r"\angle ", "∣": "|",
    }
)
_ROOT = re.compile(r"√ *([0-9]{1,99}(?:\.[0-9]{1,99})?|[A-Za-z])?")
_DEGREE = re.compile(r"\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\})|\\degree(?![A-Za-z])")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("`", "`"))


def clean(text: str) -> str:
    """`text` in plain characters, without what wraps it. Raises Unreadable for one too long or not text at all."""
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise Unreadable(f"it is longer than {MAX_LENGTH} characters")
    text = unicodedata.normalize("NFKC", "".join(map(_plain, text)).translate(_CHARACTERS)).translate(_CHARACTERS)
    if len(text) > 2 * MAX_LENGTH:
        raise Unreadable(f"it is longer than {MAX_LENGTH} characters")
    text = _ROOT.sub(lambda m: rf"\sqrt{{{m[1]}}}" if m[1] else r"\sqrt ", text)
    text = _DEGREE.sub("°", text)
    for _ in range(4):  # "**$73$.**" is wrapped three times
        before = text
        text = text.strip().rstrip(".,;:?") if not text.endswith((r"\,", r"\;", r"\:")) else text[:-2]
        for opening, closing in _WRAPPERS:
            inside = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and inside and opening not in inside:
                text = inside
        if text == before:
            break
    return text


def _plain(character: str) -> str:
    r"""One character before compatibility forms are folded: `²` is a power, `½` apart from what stands before it."""
    if character in "°º":
        return "°"
    if character.isascii():
        if (character < " " and not character.isspace()) or character == "\x7f":
            raise Unreadable("it holds control characters")
        return character
    category = unicodedata.category(character)
    if category in ("Cs", "Cc", "Co", "Cn"):
        raise Unreadable("it holds characters that are no text")
    if category == "Cf":  # of no width
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    kind = unicodedata.decomposition(character).partition(" ")[0]
    if kind in ("<super>", "<sub>"):
        return ("^{" if kind == "<super>" else "_{") + unicodedata.normalize("NFKC", character) + "}"
    if kind == "<fraction>":
        above, _, below = unicodedata.normalize("NFKC", character).partition("⁄")
        return rf" \frac{{{above}}}{{{below}}}" if below else character
    return character


# Letters that stand for one thing even without a backslash.
FUNCTIONS = (
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh",
    "ln", "log", "lg", "exp",
)  # fmt: skip
GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta",
    "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega", "ell",
)  # fmt: skip
_NAMES = {
    **{name: "\\" + name for name in (*FUNCTIONS, *GREEK, "pi", "sqrt", "infty")},
    "infinity": r"\infty", "oo": r"\infty", "asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan",
    "sgn": '"sgn', "abs": r"\abs",
}
_WORDS = frozenset(("and", "or", "in", "is", "to", "no", "not", "are", "the", "yes", "base", "und", "et"))
SHORT_UNITS = frozenset(  # read as a word only behind a number
    ("cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "in", "yd", "mi", "lb", "oz", "hr", "min", "sec", "mph", "sq",
     "deg", "rad", "Hz", "Pa", "dm", "kPa", "kJ", "ms", "per", "hrs", "lbs", "pct", "usd", "rmb", "men", "day", "way",
     "cup", "egg", "car", "dog", "cat", "box", "bag", "pen", "ton", "mol", "boy", "cow", "hen", "pie", "bus")
)  # fmt: skip
_SKIPPED = frozenset(
    ("left", "right", "displaystyle", "textstyle", "limits", "quad", "qquad", "hfill", "big", "Big", "bigg", "Bigg",
     "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "middle", "mleft", "mright", "hline", "nolimits", "thinspace")
)  # fmt: skip
_TEXT_BOXES = frozenset(
    ("text", "mbox", "textbf", "textit", "textrm", "textsf", "texttt", "hbox", "emph", "textnormal")
)
_BOXES = frozenset(
    ("mathrm", "mathbf", "mathit", "mathsf", "boldsymbol", "bm", "boxed", "fbox", "operatorname", "rm", "bf", "vec")
)
_SAME = {
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\cdot", r"\times", r"\ast", r"\bullet"), "*"),
    **dict.fromkeys((r"\div", r"\slash"), "/"),
    **dict.fromkeys((r"\le", r"\leq", r"\leqslant", "≤"), "<="),
    **dict.fromkeys((r"\ge", r"\geq", r"\geqslant", "≥"), ">="),
    **dict.fromkeys((r"\ne", r"\neq", "!="), "!="),
    **dict.fromkeys((r"\lt",), "<"),
    **dict.fromkeys((r"\gt",), ">"),
    **dict.fromkeys((r"\lvert", r"\rvert", r"\vert", r"\mid"), "|"),
    **dict.fromkeys((r"\approx", r"\simeq", r"\doteq"), r"\approx"),
    **dict.fromkeys((r"\varnothing", r"\emptyset"), r"\emptyset"),
    **dict.fromkeys((r"\backslash", r"\setminus", r"\smallsetminus"), r"\setminus"),
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\lparen": "(", r"\rparen": ")",
    r"\colon": ":", r"\%": "%", r"\&": "&", r"\Reals": r"\R", r"\real": r"\R", r"\imath": "i", r"\mathrm{i}": "i",
    r"\land": '"and', r"\lor": '"or', r"\wedge": '"and', r"\vee": '"or', r"\cr": r"\\", "**": "^", r"\prime": "'",
    "==": "=", "<=": "<=", ">=": ">=", r"\dots": "...", r"\ldots": "...", r"\cdots": "...", r"\#": "#", r"\_": "_",
}
_GROUPED = re.compile(r"[0-9]{1,3}(?:(?:,\\!\s?|\{,\}|\\,|\\ |\\!,|\u2009|\u202f)[0-9]{3})+(?![0-9])")  # never a list
_COMMAS = re.compile(r"[0-9]{1,3}(?:(?:,[0-9]{3})+|(?:[ ~][0-9]{3})+)(?![0-9])")
_REPEATING = re.compile(r"([0-9]{0,99})\.([0-9]{0,99})\\(?:overline|bar|dot) ?\{? ?([0-9]{1,99}) ?\}?")
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9}(?![0-9A-Za-z]))?")
_DECIMALS = re.compile(r"\.[0-9]+")
_LETTERS = re.compile(r"[A-Za-z]+")
_TEXT = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_COMMAND = re.compile(r"\\(?:([A-Za-z]+)\*? ?|(.))", re.DOTALL)
_NAMED = re.compile(r"\{ ?([A-Za-z]+\*?) ?\}(?:\{[lcr| ]{0,40}\})?")
_SIGNS = ("**", "<=", ">=", "!=", "==", "...")


def tokens(text: str, *, commas: bool = True) -> Tokens:
    """The tokens of `text`. `commas` False: a comma between digits always parts two numbers (the elements of a set).

    Raises Unreadable for text that is too long, holds control characters, or has unbalanced braces.
    """
    lexer = _Lexer(clean(text), commas)
    while lexer.place < len(lexer.text):
        lexer.step()
        if len(lexer.out) > MAX_TOKENS:
            raise Unreadable("it is too long")
    if lexer.braces:
        raise Unreadable("a brace is not closed")
    return _without_double_brackets(tuple(lexer.out))


class _Lexer:
    def __init__(self, text: str, commas: bool) -> None:
        self.text, self.commas = text, commas
        self.place = 0
        self.out: list[str] = []
        self.braces: list[str] = []  # "{" group, "t" text box, "w" another box: of a box nothing is left
        self.brackets = 0  # ( [ \{ that are open

    def step(self) -> None:
        character = self.text[self.place]
        if character == "\\":
            self._command()
        elif _NUMBER.match(self.text, self.place):
            self._number()
        elif character.isalpha():
            self._letters()
        elif character == "$":
            self._dollar()
        elif character.isspace() or character == "~":
            self.place += 1
        elif character in "{}":
            self.place += 1
            self._brace(character)
        else:
            sign = next((s for s in _SIGNS if self.text.startswith(s, self.place)), character)
            self.place += len(sign)
            self._put(_SAME.get(sign, sign))

    def _put(self, token: str) -> None:
        if token in ("(", "[", r"\{"):
            self.brackets += 1
        elif token in (")", "]", r"\}"):
            self.brackets -= 1
        self.out.append(token)

    def _brace(self, brace: str, kind: str = "{") -> None:
        if brace == "{":
            self.braces.append(kind)
            if kind == "{":
                self._put("{")
            return
        if not self.braces:
            raise Unreadable("a brace is closed that was not opened")
        if self.braces.pop() == "{":
            self._put("}")

    def _dollar(self) -> None:
        """`$` before a number is money, any other a mark of mathematics."""
        self.place += 1
        if re.match(r" ?[0-9.]", self.text[self.place :]) and self.text.count("$") == 1:
            self._put(r"\$")

    def _command(self) -> None:
        found = _COMMAND.match(self.text, self.place)
        if found is None:
            raise Unreadable("it ends in a backslash")
        self.place = found.end()
        name, sign = found[1], found[2]
        if name is None:
            if sign not in ",!;:>()[] \n":
                self._put(_SAME.get("\\" + sign, "\\" + sign))
        elif name in _SKIPPED:
            if name in ("left", "right") and self.text.startswith(".", self.place):
                self.place += 1
        elif name in _TEXT_BOXES or name in _BOXES:
            self.place += 1 if self.text.startswith(" ", self.place) else 0
            if self.text.startswith("{", self.place):
                self.place += 1
                self._brace("{", "t" if name in _TEXT_BOXES else "w")
        elif name in ("begin", "end", "mathbb", "mathcal"):
            self._named(name)
        else:
            self._put(_SAME.get("\\" + name, "\\" + name))

    def _named(self, name: str) -> None:
        found = _NAMED.match(self.text, self.place)
        if found is None:
            raise Unreadable(rf"\{name} has no name")
        self.place = found.end()
        self._put("\\" + found[1] if name.startswith("math") else rf"\{name}{{{found[1]}}}")

    def _number(self) -> None:
        for pattern in (_REPEATING, _GROUPED, *((_COMMAS,) if self.commas and not self.brackets else ()), _NUMBER):
            found = pattern.match(self.text, self.place)
            if found is not None:
                break
        assert found is not None, "a number begins here"
        self.place = found.end()
        if pattern is _REPEATING:
            self._put(str(_repeating(*found.groups())))
            return
        word = found[0]
        if pattern is not _NUMBER:
            word = re.sub(r"[^0-9]", "", word)
            decimals = _DECIMALS.match(self.text, self.place)
            if decimals is not None:
                self.place = decimals.end()
                word += decimals[0]
        digits, _, exponent = word.lower().partition("e")
        if len(digits) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_DIGITS:
            raise Unreadable("a number in it is too long")
        self._put(word)

    def _letters(self) -> None:
        if not self.text[self.place].isascii():
            self._foreign()
            return
        in_text = "t" in self.braces
        found = (_TEXT if in_text else _LETTERS).match(self.text, self.place)
        assert found is not None, "a letter begins here"
        self.place = found.end()
        self.out += _word(found[0], in_text, self.out[-1] if self.out else "")

    def _foreign(self) -> None:
        """A run of letters of another script is one word."""
        begin = self.place
        while (
            self.place < len(self.text) and self.text[self.place].isalpha() and not self.text[self.place].isascii()
        ):
            self.place += 1
        self._put('"' + self.text[begin : self.place])


def _word(run: str, in_text: bool, before: str) -> list[str]:
    """A run of Latin letters: a name, a word, or letters that are multiplied."""
    if run in _NAMES and not (in_text and run in GREEK):
        return [_NAMES[run]]
    after_value = before[:1].isdigit() or before[:1] == '"' or before in ("}", ")", "°", "/")
    if in_text or run.lower() in _WORDS or (run in SHORT_UNITS and after_value):
        return ['"' + run]
    if len(run) == 4 and run[:3] in _NAMES:
        return [_NAMES[run[:3]], run[3]]
    return ['"' + run] if len(run) >= 4 else list(run)


def _repeating(whole: str, fixed: str, period: str) -> Fraction:
    r"""0.1\overline{6} is (16 - 1) / 90."""
    scale = 10 ** len(fixed)
    return Fraction(int(whole or 0) * scale + int(fixed or 0), scale) + Fraction(
        int(period), scale * (10 ** len(period) - 1)
    )


_PAIRS = {"(": ")", "{": "}"}


def _without_double_brackets(found: Tokens) -> Tokens:
    """`((x))` as `(x)` and `{-}` as `-`, however deep, so that five hundred brackets around a number read like one."""
    match: dict[int, int] = {}
    stack: list[int] = []
    for place, token in enumerate(found):
        if token in ("(", "{"):
            stack.append(place)
        elif token in (")", "}") and stack and _PAIRS[found[stack[-1]]] == token:
            match[stack.pop()] = place
    dropped: set[int] = set()
    for opening, closing in match.items():
        if match.get(opening + 1) == closing - 1 and found[opening] == found[opening + 1]:
            dropped |= {opening + 1, closing - 1}
        if closing == opening + 2 and found[opening] == "{" and found[opening + 1] in "+-*/=<>,":
            dropped |= {opening, closing}
    return tuple(token for place, token in enumerate(found) if place not in dropped)
