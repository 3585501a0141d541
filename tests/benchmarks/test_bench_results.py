"""What the benchmarks print: ratios, missing peers, tables."""

from __future__ import annotations

import json

from results import Results, choices, machine, parser
from rollout import cell

OURS = {"a": {"rate": 30.0, "tokens_per_s": 30.0, "mean_length": 4.0, "dtype": "bfloat16", "threads": 2}}
SLOW = {"a": {"rate": 10.0, "tokens_per_s": 10.0, "mean_length": 5.0, "dtype": "float32", "threads": 1}}
FAST = {"a": {"rate": 60.0, "tokens_per_s": 60.0, "mean_length": 4.0, "dtype": "float32", "threads": 1}}


def results(**changes: object) -> Results:
    values: dict[str, object] = {
        "benchmark": "rollout", "ours": OURS, "peers": {"slow": SLOW, "fast": FAST, "gone": {}},
        "missing": {"gone": "there is no file"}, "machine": {"cpu": "x"},
    }  # fmt: skip
    return Results(**{**values, **changes})  # type: ignore[arg-type]


def test_a_ratio_is_ours_over_the_peers_and_a_missing_peer_has_none() -> None:
    assert results().ratios == {"slow: a": 3.0, "fast: a": 0.5}


def test_a_point_that_only_one_side_has_gets_no_ratio() -> None:
    assert results(ours={}).ratios == {}
    assert results(peers={"slow": {"b": SLOW["a"]}}).ratios == {}


def test_json_is_one_object_with_the_raw_figures() -> None:
    text = results().as_json()
    assert "\n" not in text
    said = json.loads(text)
    assert said["ratios"] == {"slow: a": 3.0, "fast: a": 0.5}
    assert said["ours"]["a"]["tokens_per_s"] == 30
    assert said["peers"]["slow"]["a"]["threads"] == 1
    assert said["missing"] == {"gone": "there is no file"}


def test_the_table_names_settings_lengths_and_absence() -> None:
    lines = results().table(cell).splitlines()
    assert lines[0] == "|  | aha | slow | ratio | fast | ratio | gone | ratio |"
    assert "30 tokens/s at 4 (bfloat16, 2 threads)" in lines[2]
    assert "10 tokens/s at 5 (float32, 1 thread) | 3.00 x" in lines[2]
    assert lines[2].endswith("| none |  |")
    assert "gone has no (or not every) figure: there is no file" in results().footer()


def test_joined_results_keep_every_point_and_tell_a_fault_once() -> None:
    other = results(ours={"b": OURS["a"]}, peers={"slow": {"b": FAST["a"]}})
    both = Results.joined("all", {"cpu": "y"}, [results(), other])
    assert set(both.ours) == {"a", "b"}
    assert both.ratios == {"slow: a": 3.0, "slow: b": 0.5, "fast: a": 0.5}
    assert both.missing == {"gone": "there is no file"}
    assert both.machine == {"cpu": "y"}


def test_quick_tries_one_setting_and_a_full_run_all() -> None:
    words = ["--threads", "1", "2"]
    full, quick = (parser("x").parse_args([*words, *extra]) for extra in ([], ["--quick"]))
    assert len(choices(full)) == 4
    assert choices(quick) == [{"dtype": "bfloat16", "threads": 2}]


def test_the_machine_is_described() -> None:
    assert {"cpu", "cores", "commit", "date", "torch", "load"} <= set(machine())
