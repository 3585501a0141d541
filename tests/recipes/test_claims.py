"""The claims at the smallest size: two seeds of every stage on a random model, and a page that reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from aha.commands import run_recipe
from aha.errors import UserError
from aha.pipeline.recipes.claims import claims
from aha.studio.claims.claims import CLAIMS
from aha.studio.claims.page import outcome, seeds_in, text_of
from aha.studio.claims.seed import Missing, Seed
from shrink import shrunk
from tiny_models import TinyFactory


@pytest.fixture(scope="module")
def folder(tiny: TinyFactory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("claims")
    recipe = shrunk(claims(), str(tiny("qwen3", max_position_embeddings=512)), seeds=(0, 1))
    evaluated = recipe.stages["evaluated"]
    thirds = evaluated.model_copy(update={"tasks": dict.fromkeys(evaluated.tasks, 3)})  # type: ignore[union-attr]
    recipe = recipe.model_copy(update={"stages": {**recipe.stages, "evaluated": thirds}})
    run_recipe(recipe, out, Console(quiet=True))
    return out


def test_each_seed_is_a_run_of_its_own(folder: Path) -> None:
    seeds = seeds_in(folder)
    assert [seed.name for seed in seeds] == ["seed-0", "seed-1"]
    assert [seed.run.recipe["seed"] for seed in seeds] == [0, 1]
    assert seeds[0].stage("zero").metrics != seeds[1].stage("zero").metrics


def test_every_claim_is_measured_on_every_seed(folder: Path) -> None:
    for claim in CLAIMS:
        found = outcome(claim, seeds_in(folder))
        # A random model thinks in no language, turns back nowhere, and finds every problem as hard.
        for what in found.missing.values():
            assert what.startswith(("language of", "a reflection_words of the base", "3 parts of")), (claim.name, what)
        assert found.missing or found.verdict == "not shown (0 of 2 seeds)", (claim.name, found.numbers)


def test_a_random_model_shows_nothing_and_the_page_says_so(folder: Path) -> None:
    page = (folder / "claims.md").read_text()
    assert "**not shown (0 of 2 seeds)**" in page and "**shown" not in page and "claims.png" in page
    assert (folder / "claims.png").read_bytes().startswith(b"\x89PNG")
    for number, claim in enumerate(CLAIMS, 1):
        assert f"## {number}. {claim.name}" in page


def test_from_a_stage_is_for_one_seed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set seeds=\[\] --set seed=0 --out .*seed-0"):
        run_recipe(claims(), tmp_path, Console(quiet=True), "dev2")


def test_what_is_missing_is_named_and_judged_by_nobody(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "recipe.yaml").write_text("name: claims\n")
    seeds = seeds_in(tmp_path)
    found = [outcome(claim, seeds) for claim in CLAIMS]
    assert {one.verdict for one in found} == {"not measured"}
    assert "stage zero of seed-0 is not finished is missing" in text_of(found, seeds, "claims.png")
    with pytest.raises(Missing, match="no/figure of zero after training"):
        Seed.read(folder / "seed-0").after("zero", "no/figure")
