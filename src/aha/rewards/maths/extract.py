r"""The final answer of a response: what stands in its last finished `\boxed{}`, `\fbox{}` or `<answer>..</answer>`.

    final_answer(r"First \boxed{3}, no wait: \boxed{\frac{1}{2}}")    -> r"\frac{1}{2}"
    final_answer(r"It is \boxed{3}, so \boxed{4")                     -> None: the last one is unfinished

Time grows with the length of the text, whatever it holds.
"""

from __future__ import annotations

import re

_MARK = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,8}(?P<brace>\{)?|<answer>|(?P<close></answer>)|\\.|[{}]", re.DOTALL
)


def final_answer(text: str) -> str | None:
    r"""The content of the answer that ended last; None where there is none, or where the last one begun has no end.

    Inside `<answer>` a finished box wins over the text around it. Braces are balanced; `\{` and `\}` are text. A box
    inside a box is part of the outer one's content, unless it is all of it.
    """
    scan = _Scan(text)
    for mark in _MARK.finditer(text):
        scan.read(mark)
    return scan.found if scan.unfinished is None else None


class _Scan:
    """One pass over the marks of a text: which answers have ended, and what is still open."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: str | None = None  # the answer that ended last
        self.unfinished: int | None = None  # where the answer that was begun last begins, while it is open
        self.braces: list[int | None] = []  # open ones: where a box's content begins, or None for any other
        self.tag: int | None = None  # where the content of the open <answer> begins
        self.boxed: str | None = None  # the box that ended last in it

    def read(self, mark: re.Match[str]) -> None:
        word = mark[0]
        if word == "<answer>":
            self.tag = self.unfinished = mark.end()
            self.boxed = None
            self.braces.clear()  # a group does not reach into an answer
        elif mark["close"]:
            self._close_tag(mark.start())
        elif mark["brace"]:
            self.braces.append(mark.end())
            self.unfinished = mark.end()
        elif word.startswith(("\\boxed", "\\fbox")):
            if not self.text[mark.end() : mark.end() + 9].strip():  # cut off before its brace
                self.unfinished = mark.end()
        elif word == "{":
            self.braces.append(None)
        elif word == "}" and self.braces:
            self._close_brace(self.braces.pop(), mark.start())

    def _close_tag(self, end: int) -> None:
        if self.tag is None:
            return
        self.found = self.text[self.tag : end].strip() if self.boxed is None else self.boxed
        if self.unfinished == self.tag:
            self.unfinished = None
        self.tag = self.boxed = None

    def _close_brace(self, begin: int | None, end: int) -> None:
        if begin is None:
            return
        content = self.text[begin:end].strip()
        if content.startswith(("\\boxed{", "\\fbox{")) and content.partition("{")[2][:-1].strip() == self.boxed:
            content = self.boxed  # a box that holds nothing but a box
        self.found = self.boxed = content
        if self.unfinished == begin:
            self.unfinished = None
