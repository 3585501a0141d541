"""Which groups a step takes, where sampling runs ahead of learning by at most K policy versions.

A question that a worker is given at version v has the deadline v + K: the step that begins from that version is the
last that may train it. Steps take the groups that came first, but so many of the urgent ones that no deadline is missed
later. That bounds how stale a token can be, and no long sample waits for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NEVER = 1 << 62  # the deadline of a question that nobody has yet


def choose(
    made: Sequence[str], deadlines: Mapping[str, int], done: int, size: int, least: int | None = None
) -> list[str] | None:
    """What the step after `done` others takes of the groups `made`, first come first; None where it has to wait.

    `deadlines` are those of all that is outstanding. `size` groups are taken, or as many as there are, but `least` at
    least. For every j >= 0, of the groups with a deadline up to `done` + j at most j * `size` are left, which the steps
    until then can take.

    >>> choose(["2", "1"], {"0": 9, "1": 9, "2": 9}, done=0, size=1)
    ['2']
    >>> choose(["2", "1"], {"0": 0, "1": 9, "2": 9}, done=0, size=1) is None    # 0 may not wait, and is not there
    True
    >>> choose(["2", "1"], {"0": 9, "1": 0, "2": 9}, done=0, size=1)
    ['1']
    """
    room = min(size, len(made))
    if room < (size if least is None else least):
        return None
    owed = {due: _owed(deadlines, due, max(0, due - done) * size) for due in {*deadlines.values()}}
    there = {due: sum(deadlines[name] <= due for name in made) for due in owed}
    if any(count > min(room, there[due]) for due, count in owed.items()):
        return None
    taken: list[str] = []
    for name in made:
        after = {due: count - (deadlines[name] <= due) for due, count in owed.items()}
        if len(taken) < room and all(count < room - len(taken) for count in after.values()):
            taken.append(name)
            owed = after
    return taken


def _owed(deadlines: Mapping[str, int], due: int, later: int) -> int:
    """How many with a deadline up to `due` have to be taken now, where `later` of them can be taken afterwards."""
    return max(0, sum(deadline <= due for deadline in deadlines.values()) - later)
