"""The page of claims: what was asked, what each seed gave, and the verdict, with a picture of all curves.

    write(Path("runs/claims"))     # runs/claims/claims.md and claims.png, from the runs of its seeds

A verdict is "shown" where it holds in every seed, "not shown" where in none, "mixed" otherwise. While a seed has not
come so far, or its base has nothing to compare with, it is "not measured".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aha.errors import UserError
from aha.studio.claims.claims import CLAIMS, Claim, Numbers
from aha.studio.claims.picture import picture
from aha.studio.claims.seed import Missing, Seed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the seeds gave for a claim: numbers by seed, or why there are none."""

    claim: Claim
    numbers: Mapping[str, Numbers]
    missing: Mapping[str, str]

    @property
    def holds(self) -> int:
        """The seeds in which the claim holds."""
        return sum(self.claim.holds(numbers) for numbers in self.numbers.values())

    @property
    def verdict(self) -> str:
        """In words, with the seeds counted. Nothing is shown while a seed has not been measured."""
        if not self.numbers:
            return "not measured"
        if self.missing:
            seeds = len(self.numbers) + len(self.missing)
            return f"not measured in all seeds ({self.holds} of {seeds} hold)"
        word = {0: "not shown", len(self.numbers): "shown"}.get(self.holds, "mixed")
        return f"{word} ({self.holds} of {len(self.numbers)} seeds)"


def outcome(claim: Claim, seeds: Sequence[Seed]) -> Outcome:
    """Measure `claim` on every seed."""
    numbers: dict[str, Numbers] = {}
    missing: dict[str, str] = {}
    for seed in seeds:
        try:
            numbers[seed.name] = claim.measure(seed)
        except Missing as what:
            missing[seed.name] = str(what)
    return Outcome(claim, numbers, missing)


def seeds_in(folder: Path) -> list[Seed]:
    """The runs of a study, a folder a seed. Raises UserError where there is none."""
    runs = {int(p.name[5:]): p for p in folder.glob("seed-*") if p.name[5:].isdigit() and (p / "recipe.yaml").is_file()}
    found = [Seed.read(path) for _, path in sorted(runs.items())]
    if not found:
        raise UserError(f"{str(folder)!r} holds no runs of seeds (seed-0, ...); give a folder of `aha run claims`")
    return found


def write(folder: Path) -> list[Path]:
    """Write claims.md and claims.png into `folder`; returns both."""
    seeds = seeds_in(folder)
    outcomes = [outcome(claim, seeds) for claim in CLAIMS]
    drawn = picture(CLAIMS, seeds)
    page, image = folder / "claims.md", folder / "claims.png"
    image.write_bytes(drawn)
    page.write_text(text_of(outcomes, seeds, image.name), encoding="utf-8")
    return [page, image]


def text_of(outcomes: Sequence[Outcome], seeds: Sequence[Seed], image: str) -> str:
    """The whole page as Markdown."""
    info = seeds[0].run.info
    threads, commit = info.get("threads", "?"), info.get("commit")
    made = f"{info.get('cpu', '?')}, {threads} thread{'s' * (threads != 1)}, {info.get('dtype', '?')}, "
    made += f"{f'commit {commit}, ' if commit else ''}{str(info.get('started', '?'))[:10]}"
    model = seeds[0].run.recipe.get("model", "?")
    lines = [
        "# The paper's claims, measured",
        "",
        f"Written by `aha run claims`: model `{model}`, {len(seeds)} seeds; {made}. What has to hold was fixed",
        "before the runs and is the same for every seed; what did not come out is reported as it came out. Seeds",
        "differ in what is sampled, in training and in tests; base model and test problems are the same.",
        "",
        "| | claim | verdict |",
        "|---|---|---|",
        *(f"| {n} | {o.claim.name}: {o.claim.says} | **{o.verdict}** |" for n, o in enumerate(outcomes, 1)),
        "",
        f"![The curves of all claims; a thin line is a seed, a strong one their mean]({image})",
    ]
    for number, one in enumerate(outcomes, 1):
        lines += ["", f"## {number}. {one.claim.name}: {one.verdict}", "", *_section(one)]
    return "\n".join(lines) + "\n"


def _section(one: Outcome) -> list[str]:
    claim, names = one.claim, list(one.numbers)
    lines = [f"{claim.says} ({claim.source}.) Asked here: {claim.asks}.", ""]
    lines += [f"- {seed}: not measured, {why} is missing." for seed, why in one.missing.items()]
    if not names:
        return lines
    rows = [[figure, *(number(one.numbers[seed][figure]) for seed in names)] for figure in one.numbers[names[0]]]
    rows.append(["holds", *("yes" if claim.holds(one.numbers[seed]) else "no" for seed in names)])
    return [*lines, *table([["", *names], *rows])]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown, the first row as its head."""
    head, *rest = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)]


def number(value: float) -> str:
    """A number as a person reads it; what was never reached is said so.

    >>> number(0.8512), number(128.4), number(3.0), number(float("inf"))
    ('0.851', '128', '3', 'never')
    """
    if not math.isfinite(value):
        return "never" if math.isinf(value) else "unknown"
    if value == round(value) and abs(value) < 1000:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
