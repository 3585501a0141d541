"""How many workers are wanted, and who is there."""

from __future__ import annotations

import json
from pathlib import Path

from aha.distributed.rollout.books import BOOKS
from aha.distributed.rollout.elastic import FILE, Wanted, ask_for, forget_wanted, present


def test_the_recipe_says_it_until_somebody_asks_for_others(tmp_path: Path) -> None:
    wanted = Wanted(tmp_path, {"rollout": 2, "reward": 1})
    assert wanted() == {"rollout": 2, "reward": 1}
    ask_for(tmp_path, {"rollout": 5})
    assert wanted() == {"rollout": 5, "reward": 1}
    ask_for(tmp_path, {"reward": 3})
    assert wanted() == {"rollout": 5, "reward": 3} and json.loads((tmp_path / FILE).read_text()) == wanted()
    forget_wanted(tmp_path)
    assert wanted() == {"rollout": 5, "reward": 3}, "as long as this process lasts"
    assert Wanted(tmp_path, {"rollout": 2, "reward": 1})() == {"rollout": 2, "reward": 1}
    forget_wanted(tmp_path)


def test_what_cannot_be_read_changes_nothing_and_one_that_samples_stays(tmp_path: Path) -> None:
    wanted = Wanted(tmp_path, {"rollout": 2, "reward": 1})
    for text in ("{", "[]", '{"rollout": "many"}', '{"rollout": null}'):
        (tmp_path / FILE).write_text(text)
        assert wanted() == {"rollout": 2, "reward": 1}
    (tmp_path / FILE).unlink()
    ask_for(tmp_path, {"rollout": 0, "reward": -1})
    assert wanted() == {"rollout": 1, "reward": 0}


def test_who_is_there(tmp_path: Path) -> None:
    assert present(tmp_path) is None
    folder = tmp_path / "stages" / "01-zero"
    folder.mkdir(parents=True)
    lines = [
        {"event": "opened"}, {"event": "joined", "worker": "rollout-0"}, {"event": "opened"},
        {"event": "joined", "worker": "rollout-0"}, {"event": "joined", "worker": "rollout-1"},
        {"event": "began", "step": 0, "following": 0, "outstanding": {}},
        {"event": "died", "worker": "rollout-0", "why": "killed"}, {"event": "joined", "worker": "rollout-2"},
        {"event": "left", "worker": "rollout-1", "why": "too many"},
    ]  # fmt: skip
    (folder / BOOKS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert present(tmp_path) == ["rollout-2"]
