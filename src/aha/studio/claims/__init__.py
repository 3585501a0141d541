"""The paper's claims, read from the runs of the recipe `claims`: numbers, verdicts, a page and a picture."""

from aha.studio.claims.page import write

__all__ = ["write"]
