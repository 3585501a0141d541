"""The recipes: a name, what it is for, and a function that returns its complete, frozen configuration."""

from __future__ import annotations

from collections.abc import Callable

from aha.config import Recipe
from aha.errors import UserError, nearest
from aha.pipeline.recipes.claims import claims
from aha.pipeline.recipes.large import LARGE
from aha.pipeline.recipes.r1 import r1
from aha.pipeline.recipes.tiny import tiny_pretrain, tiny_small_pretrain
from aha.pipeline.recipes.zero import demo, zero

RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "zero": zero,
    "r1": r1,
    "claims": claims,
    "tiny-pretrain": tiny_pretrain,
    "tiny-small-pretrain": tiny_small_pretrain,
    **LARGE,
}


def recipe(name: str) -> Recipe:
    """The recipe `name`, or UserError that names the nearest one."""
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}{nearest(name, RECIPES)}")
    return RECIPES[name]()
