"""The JSON schema reward: the final answer is JSON that a schema accepts. Needs `pip install jsonschema`.

    validate('{"age": 7}', {"type": "object", "required": ["age"]})     # Score(1.0, "valid")

The schema stands in `problem.hidden["schema"]` and is the user's; the answer is untrusted. Nothing is fetched: a `$ref`
may point into the schema only. Regular expressions of the schema run under a time limit.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NoReturn

from aha.errors import UserError
from aha.protocols import Task
from aha.rewards.prose import final_text
from aha.types import Abstain, Failed, Outcome, Rollout, Score

MAX_LENGTH = 50_000  # characters of an answer
MAX_DEPTH = 64  # of its nesting
MAX_DIGITS = 300  # of a whole number
MAX_MATCHED = 1_000  # characters of a string that a pattern is tried on; a longer one does not match
PATTERN_SECONDS = 0.5

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)


def json_schema(task: Task, rollout: Rollout) -> Outcome:
    """1 where what follows the thinking is JSON that the problem's schema accepts. Abstains where it has none."""
    schema = rollout.problem.hidden.get("schema")
    if schema is None:
        return Abstain("the problem has no schema")
    if rollout.completion.stop_reason != "stop":
        return Score(0.0, "cut off at the length limit")
    text = final_text(rollout)
    return Score(0.0, "the thinking is never closed") if text is None else validate(text, schema)


def validate(text: str, schema: Mapping[str, Any] | bool) -> Outcome:
    """1 where `text` (bare or in one fenced block) is JSON that `schema` accepts, 0 where it is not.

    Failed where a pattern of the schema takes too long. Raises UserError for a schema that cannot be used and where the
    library is missing.
    """
    validator = _validator(json.dumps(schema, sort_keys=True))
    if len(text) > MAX_LENGTH:
        return Score(0.0, f"longer than {MAX_LENGTH} characters")
    try:
        value = json.loads(unfenced(text), parse_constant=_refuse, parse_int=_whole, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        return Score(0.0, f"not JSON: {str(error)[:100]}")
    if _depth(value) > MAX_DEPTH:
        return Score(0.0, f"nested deeper than {MAX_DEPTH}")
    from referencing.exceptions import Unresolvable

    try:
        fault = next(validator.iter_errors(value), None)
    except TimeoutError:
        return Failed(f"a pattern of the schema took longer than {PATTERN_SECONDS:g} s")
    except Unresolvable as error:
        raise UserError(f"the schema refers to {error.ref!r}, which is not in it; write it under $defs") from error
    except RecursionError as error:
        raise UserError("the schema refers to itself without end; let each $ref go down into the value") from error
    if fault is None:
        return Score(1.0, "valid")
    where = "".join(f"[{part!r}]" for part in fault.absolute_path)[:100]
    return Score(0.0, f"{where or 'the value'}: {fault.message[:200]}")


def unfenced(text: str) -> str:
    """`text` without one fence of backticks around it."""
    text = text.strip()
    found = _FENCED.fullmatch(text) if text.startswith("```") else None
    return found[1] if found else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too great")
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


@functools.lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """A validator that fetches nothing, by the schema's own draft (2020-12 where it names none)."""
    try:
        from jsonschema import Draft202012Validator, SchemaError, validators
        from referencing import Registry
    except ImportError as error:
        raise UserError("the reward 'json-schema' needs the library jsonschema: pip install jsonschema") from error
    read = json.loads(schema)
    if '"patternProperties"' in schema and '"unevaluatedProperties"' in schema:
        raise UserError("the schema has patternProperties and unevaluatedProperties; use additionalProperties instead")
    base = validators.validator_for(read, default=Draft202012Validator)
    try:
        base.check_schema(read)
    except SchemaError as error:
        raise UserError(f"the schema is no JSON schema ({error.message[:200]}); mend it first") from error
    return validators.extend(base, _OWN)(read, registry=Registry())


def _matches(pattern: str, text: str) -> bool:
    """Whether `pattern` is found in `text`; raises TimeoutError where that takes too long."""
    import regex

    if len(text) > MAX_MATCHED:
        return False
    try:
        return regex.search(pattern, text, timeout=PATTERN_SECONDS, concurrent=True) is not None
    except regex.error as error:
        raise UserError(f"the schema's pattern {pattern!r} is no regular expression ({error})") from error


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _matches(pattern, value):
        yield ValidationError(f"{value[:60]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for key, item in value.items():
                if _matches(pattern, key):
                    yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(value, "object"):
        return
    patterns = schema.get("patternProperties", {})
    for key, item in value.items():
        if key in schema.get("properties", {}) or any(_matches(pattern, key) for pattern in patterns):
            continue
        if validator.is_type(allowed, "object"):
            yield from validator.descend(item, allowed, path=key)
        elif not allowed:
            yield ValidationError(f"{key[:60]!r} is no property of the schema")


def _unique_items(validator: Any, unique: bool, value: Any, schema: Any) -> Iterator[Any]:
    """In linear time, where the library compares each item with each other."""
    from jsonschema import ValidationError

    if unique and validator.is_type(value, "array") and len({_identity(item) for item in value}) < len(value):
        yield ValidationError("items are not unique")


def _identity(value: Any) -> Hashable:
    """Equal for equal JSON values: 1 is 1.0 and not true."""
    if isinstance(value, list):
        return ("list", *map(_identity, value))
    if isinstance(value, dict):
        return ("object", frozenset((key, _identity(item)) for key, item in value.items()))
    return (isinstance(value, bool), value)


# Keywords whose own versions in the library match without a limit of time, or compare all pairs.
_OWN = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
