r"""Expressions as trees, read from canonical tokens by recursive descent: what a mathematician reads, nothing guessed.

    parse(tokens(r"1\frac{4}{5}"))   -> add(1, 4/5): a whole number before a proper fraction is a mixed number
    parse(tokens(r"\sin 2x \cos x")) -> mul(sin(2 x), cos(x))

`e` is Euler's number and `i` the imaginary unit; `\log` without a base is the natural logarithm; `90^\circ` is
`\pi/2`, and `50\%` is 1/2. Depth is capped; nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from aha.rewards.maths.normalise import FUNCTIONS, GREEK, Tokens, Unreadable

MAX_DEPTH = 40  # of brackets, roots and powers in one another


@dataclass(frozen=True, slots=True)
class Node:
    """A number, a symbol, a constant ("pi", "e", "i", "inf"), or an operation on other nodes."""

    head: str
    args: tuple[Node, ...] = ()
    value: Fraction | str | None = None

    def nodes(self) -> Iterator[Node]:
        """This node and all below it."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo += node.args

    @property
    def symbols(self) -> frozenset[str]:
        """Names of the free variables."""
        return frozenset(str(node.value) for node in self.nodes() if node.head == "symbol")


def number(value: int | Fraction) -> Node:
    """The node of a number."""
    return Node("number", value=Fraction(value))


PI, EULER, IMAGINARY, INFINITY = (Node("constant", value=name) for name in ("pi", "e", "i", "inf"))


def infinite(tree: Node) -> int:
    """1 for infinity, -1 for minus infinity, 0 for anything else."""
    if tree.head == "negative":
        return -infinite(tree.args[0])
    return int(tree.head == "constant" and tree.value == "inf")


_CONSTANTS = {r"\pi": PI, "e": EULER, "i": IMAGINARY, r"\infty": INFINITY}
_FUNCTIONS = frozenset("\\" + name for name in FUNCTIONS)
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
_SYMBOLS = frozenset("\\" + name for name in GREEK)
_OPENING = {"(": ")", "[": "]", "{": "}"}
_STARTS = frozenset((r"\frac", r"\sqrt", r"\binom", r"\abs", r"\lfloor", r"\lceil", *_OPENING))
_FLOORS = {r"\lfloor": (r"\rfloor", "floor"), r"\lceil": (r"\rceil", "ceil")}


def is_letter(token: str) -> bool:
    """Whether the token can name a variable."""
    return (len(token) == 1 and token.isalpha()) or token in _SYMBOLS


def is_number(token: str) -> bool:
    """Whether the token is a number."""
    return token.lstrip(".")[:1].isdigit()


def parse(found: Tokens) -> Node:
    """The tree of an expression. Raises Unreadable, with the reason, for anything else."""
    if not found:
        raise Unreadable("it is empty")
    parser = _Parser(list(found))
    tree = parser.sum()
    if parser.place < len(parser.tokens):
        raise Unreadable(f"{show(parser.tokens[parser.place])} is out of place")
    return tree


def show(token: str) -> str:
    """A token for a human."""
    return repr(token.lstrip('"'))


class _Parser:
    def __init__(self, found: list[str]) -> None:
        self.tokens = found
        self.place = 0
        self.depth = 0
        self.bars = 0  # open | of absolute values

    def peek(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise Unreadable(f"{show(wanted) if wanted else 'something'} is missing before {show(token) or 'the end'}")
        self.place += 1
        return token

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"it is nested deeper than {MAX_DEPTH}")
        terms: list[Node] = [self.signed()]
        while (sign := self.peek()) in ("+", "-", r"\pm", r"\mp"):
            self.place += 1
            term = self.signed()
            terms.append(term if sign == "+" else Node("negative" if sign == "-" else sign[1:], (term,)))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def signed(self) -> Node:
        """A product with any number of signs before it."""
        negative, branch = False, ""
        while (sign := self.peek()) in ("+", "-", r"\pm", r"\mp"):
            self.place += 1
            negative ^= sign == "-"
            if sign in (r"\pm", r"\mp"):
                if branch:
                    raise Unreadable("two signs ± stand side by side")
                branch = sign[1:]
        tree = self.product()
        if negative:
            tree = number(-tree.value) if isinstance(tree.value, Fraction) else Node("negative", (tree,))
        return Node(branch, (tree,)) if branch else tree

    def product(self) -> Node:
        factors = [self.power()]
        divisions = 0
        while True:
            token = self.peek()
            divisions += token in ("/", ":")
            if divisions > MAX_DEPTH:
                raise Unreadable("it divides too often")
            if token == "*":
                self.place += 1
                factors.append(self.factor())
            elif token in ("/", ":"):
                self.place += 1
                factors = [Node("divide", (_times(factors), self.factor()))]
            elif self.starts(token):
                if is_number(token) and self.tokens[self.place - 1] not in ("!", ")"):
                    factors.append(self._mixed(factors))
                else:
                    mixed = token == r"\frac" and self.tokens[self.place - 1].isdigit() and _is_whole(factors[-1])
                    factor = self.power()
                    factors = [*factors[:-1], _mixed_or_product(factors[-1], factor)] if mixed else [*factors, factor]
            else:
                return _times(factors)

    def factor(self) -> Node:
        """A power that may have a sign: `2 \\cdot -3`."""
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.take() == "-"
        tree = self.power()
        return Node("negative", (tree,)) if negative else tree

    def _mixed(self, factors: list[Node]) -> Node:
        """`1 4/5`: two numbers side by side are read only as a mixed number."""
        above, below = self.peek(), self.peek(2)
        whole = self.tokens[self.place - 1].isdigit() and _is_whole(factors[-1])
        if not (whole and above.isdigit() and self.peek(1) == "/" and below.isdigit() and int(above) < int(below)):
            raise Unreadable("two numbers stand side by side")
        self.place += 3
        last = factors.pop()
        return Node("add", (last, number(Fraction(int(above), int(below)))))

    def starts(self, token: str) -> bool:
        """Whether `token` begins a factor."""
        if token == "|":
            return self.bars == 0
        return (
            token in _STARTS
            or token in _FUNCTIONS
            or token in _CONSTANTS
            or token in _FLOORS
            or is_letter(token)
            or is_number(token)
        )

    def power(self) -> Node:
        tree = self.postfix(self.primary())
        if self.peek() != "^":
            return tree
        self.place += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"it is nested deeper than {MAX_DEPTH}")
        tree = Node("power", (tree, self.factor()))
        self.depth -= 1
        return self.postfix(tree)

    def postfix(self, tree: Node) -> Node:
        while (token := self.peek()) in ("!", "%", "°"):
            self.place += 1
            if token == "!" and (self.peek() == "!" or tree.head == "factorial"):
                raise Unreadable("double factorials are not read")
            if token != "!" and tree.head in ("percent", "degree"):
                raise Unreadable(f"{token} stands twice")
            tree = Node({"!": "factorial", "%": "percent", "°": "degree"}[token], (tree,))
        return tree

    def primary(self) -> Node:
        token = self.take()
        if is_number(token):
            if self.peek() == "_":
                raise Unreadable("a number has an index")
            return number(Fraction(token))
        if token in _OPENING:
            return self.group(_OPENING[token])
        if token == "|":
            self.bars += 1
            tree = self.sum()
            self.take("|")
            self.bars -= 1
            return Node("abs", (tree,))
        if token in _FLOORS:
            tree = self.sum()
            self.take(_FLOORS[token][0])
            return Node(_FLOORS[token][1], (tree,))
        if token in (r"\frac", r"\binom"):
            above = self.argument(one_digit=True)
            return Node({r"\frac": "divide", r"\binom": "binomial"}[token], (above, self.argument(one_digit=True)))
        if token == r"\sqrt":
            return self.root()
        if token == r"\abs":
            return Node("abs", (self.argument(),))
        if token in _FUNCTIONS:
            return self.function(token[1:])
        if token in _CONSTANTS and self.peek() not in ("_", "'"):
            return _CONSTANTS[token]
        if is_letter(token):
            return self.symbol(token)
        raise Unreadable(f"{show(token)} is not understood")

    def group(self, closing: str) -> Node:
        bars, self.bars = self.bars, 0
        tree = self.sum()
        if closing == "}" and self.peek() in (r"\over", r"\choose"):
            head = "divide" if self.take() == r"\over" else "binomial"
            tree = Node(head, (tree, self.sum()))
        self.take(closing)
        self.bars = bars
        return tree

    def argument(self, one_digit: bool = False) -> Node:
        r"""What a command takes: a group or one token, of a number one digit (`\frac12` is a half)."""
        token = self.peek()
        if one_digit and len(token) > 1 and token.isdigit():
            self.tokens[self.place : self.place + 1] = [token[0], token[1:]]
        if one_digit and self.peek().isdigit():
            return number(int(self.take()))
        return self.primary()

    def root(self) -> Node:
        degree = number(2)
        if self.peek() == "[":
            self.place += 1
            degree = self.group("]")
        return Node("root", (self.argument(), degree))

    def symbol(self, token: str) -> Node:
        name = token
        if self.peek() == "_":
            self.place += 1
            name += "_" + self._index()
        while self.peek() == "'":
            name += self.take()
        return Node("symbol", value=name)

    def _index(self) -> str:
        if self.peek() != "{":
            return self.take()
        end = self.tokens.index("}", self.place) if "}" in self.tokens[self.place :] else len(self.tokens)
        inside = self.tokens[self.place + 1 : end]
        if "{" in inside or end == len(self.tokens):
            raise Unreadable("an index is not understood")
        self.place = end + 1
        return "".join(inside)

    def function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        while self.peek() in ("_", "^"):
            if self.take() == "_":
                base = self.argument()
            else:
                exponent = self.argument() if self.peek() == "{" else self.factor()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"it is nested deeper than {MAX_DEPTH}")
        argument = self._function_argument()
        self.depth -= 1
        if name in ("log", "lg") and (base is not None or name == "lg"):
            tree = Node("divide", (_apply("ln", argument), _apply("ln", base or number(10))))
        elif base is not None:
            raise Unreadable(f"{name} has an index")
        elif exponent == number(-1) and name in _INVERSE:
            return _apply(_INVERSE[name], argument)
        elif name == "exp":
            tree = Node("power", (EULER, argument))
        else:
            tree = _apply("ln" if name == "log" else name, argument)
        return tree if exponent is None else Node("power", (tree, exponent))

    def _function_argument(self) -> Node:
        """What stands in brackets, or the factors up to the next sign, bracket or function: `sin 2x cos x`."""
        if self.peek() in ("(", "[", "{", "|"):
            return self.power()
        factors = [self.factor()]
        while self.starts(token := self.peek()) and token not in _FUNCTIONS and token not in ("(", "[", "|"):
            if is_number(token):
                break
            factors.append(self.power())
        return _times(factors)


def _apply(name: str, argument: Node) -> Node:
    return Node("function", (argument,), value=name)


def _times(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Node("multiply", tuple(factors))


def _is_whole(node: Node) -> bool:
    return isinstance(node.value, Fraction) and node.value.denominator == 1


def _mixed_or_product(whole: Node, part: Node) -> Node:
    """`1\\frac{4}{5}` is 9/5, `2\\frac{3}{2}` is 3: only a proper fraction of whole numbers makes a mixed number."""
    if part.head == "divide" and all(_is_whole(a) for a in part.args):
        above, below = (a.value for a in part.args)
        if isinstance(above, Fraction) and isinstance(below, Fraction) and 0 < above < below:
            return Node("add", (whole, part))
    return Node("multiply", (whole, part))


def branches(tree: Node) -> tuple[Node, ...]:
    r"""`1 \pm x` as 1 + x and 1 - x; all upper signs, then all lower ones. One tree where there is no such sign."""
    if not any(node.head in ("pm", "mp") for node in tree.nodes()):
        return (tree,)
    return _branch(tree, "mp"), _branch(tree, "pm")


def _branch(tree: Node, negative: str) -> Node:
    args = tuple(_branch(argument, negative) for argument in tree.args)
    if tree.head in ("pm", "mp"):
        return Node("negative", args) if tree.head == negative else args[0]
    return Node(tree.head, args, tree.value)
