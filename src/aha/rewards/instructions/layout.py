"""The instructions about form: marks, parts, beginnings and ends. See `checks` for what they share.

All take time in proportion to the response: patterns stop at their own opening marks, the rest goes line by line.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator

from aha.rewards.instructions.measure import Finding, exactly

_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*[^\[\]\s][^\[\]\n]*\]")
_BULLET = re.compile(r"[*-][ \t]+(?=\S)")
_STARS = re.compile(r"(\*{1,3})([^*\n]+)\1(?!\*)")
_FENCE = re.compile(r"^```(?:json)?[ \t]*\n?|\n?[ \t]*```$", re.IGNORECASE)
_SEPARATOR = "******"
_CLOSING = " \t\r\n\"”*_"
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def placeholders(response: str, *, num_placeholders: int) -> Finding:
    count = len(_PLACEHOLDER.findall(response))
    return Finding(count >= num_placeholders, f"{count} placeholders, asked for at least {num_placeholders}")


def postscript(response: str, *, postscript_marker: str) -> Finding:
    """A postscript is the marker as a word of its own, in any case, and some text after it on the line."""
    found = _postscript(postscript_marker).search(response)
    return Finding(found is not None, f"{'a' if found else 'no'} postscript with {postscript_marker}")


@functools.lru_cache(maxsize=64)
def _postscript(marker: str) -> re.Pattern[str]:
    letters = r"\.[ \t]?".join(map(re.escape, re.split(r"\.[ \t]?", marker.rstrip("."))))
    return re.compile(rf"(?<![\w.]){letters}(?!\w|\.[ \t]?[A-Za-z]\b\.)[^\w\n]{{0,20}}\w", re.IGNORECASE)


def bullets(response: str, *, num_bullets: int) -> Finding:
    """A bullet is a line that begins with `*` or `-` and a space."""
    count = sum(1 for line in response.splitlines() if _BULLET.match(line.lstrip()))
    return exactly(count, num_bullets, "bullets")


def constrained(response: str) -> Finding:
    found = [option for option in OPTIONS if option in response]
    return Finding(bool(found), f"says {found[0]!r}" if found else f"says none of {', '.join(OPTIONS)}")


def highlights(response: str, *, num_highlights: int) -> Finding:
    """A highlight is text between single, double or triple asterisks on one line; bullets are none."""
    count = sum(1 for line in _without_bullets(response) for found in _STARS.finditer(line) if found[2].strip())
    return Finding(count >= num_highlights, f"{count} highlights, asked for at least {num_highlights}")


def _without_bullets(response: str) -> Iterator[str]:
    for line in response.splitlines():
        yield _BULLET.sub("", line.lstrip(), count=1) if _BULLET.match(line.lstrip()) else line


def sections(response: str, *, section_spliter: str, num_sections: int) -> Finding:
    """A section begins with its word and a number, such as `SECTION 1`."""
    count = len(re.findall(rf"{re.escape(section_spliter)}\s?[0-9]", response))
    return Finding(count >= num_sections, f"{count} times {section_spliter!r} with a number, asked for {num_sections}")


def json_format(response: str) -> Finding:
    """The whole response is a JSON object or list, bare or in one fenced block."""
    try:
        value = json.loads(_FENCE.sub("", response.strip()), parse_int=str)
    except (ValueError, RecursionError) as error:
        return Finding(False, f"not JSON: {str(error)[:100]}")
    whole = isinstance(value, dict | list)
    return Finding(whole, f"JSON, {'an object or a list' if whole else 'but neither an object nor a list'}")


def title(response: str) -> Finding:
    for line in response.splitlines():
        begin, end = line.find("<<"), line.rfind(">>")
        if 0 <= begin < end and line[begin:end].strip("<> \t"):
            return Finding(True, f"title {line[begin : end + 2][:60]}")
    return Finding(False, "no <<title>>")


def two_responses(response: str) -> Finding:
    """Two different parts with six asterisks between them; asterisks may also stand first or last."""
    parts = [part.strip("* \t\r\n") for part in response.strip().split(_SEPARATOR)]
    texts = [part for part in parts if part]
    if not all(parts[1:-1]):
        return Finding(False, "two separators with nothing between them")
    different = len(texts) == 2 and texts[0] != texts[1]
    return Finding(different, f"{len(texts)} responses{' that differ' if different else ''}, asked for 2 that differ")


def repeat_prompt(response: str, *, prompt_to_repeat: str) -> Finding:
    """The response begins with the prompt, whatever the case and the white space."""
    asked = " ".join(prompt_to_repeat.casefold().split())
    followed = " ".join(response.casefold().split()).startswith(asked)
    return Finding(followed, f"{'begins' if followed else 'does not begin'} with the request")


def end_phrase(response: str, *, end_phrase: str) -> Finding:
    followed = response.rstrip(_CLOSING).casefold().endswith(end_phrase.rstrip(_CLOSING).casefold())
    return Finding(followed, f"{'ends' if followed else 'does not end'} with {end_phrase!r}")


def quotation(response: str) -> Finding:
    text = response.strip()
    quoted = len(text) > 1 and (text[0] + text[-1]) in ('""', "“”")
    return Finding(quoted, f"{'in' if quoted else 'not in'} double quotation marks")
