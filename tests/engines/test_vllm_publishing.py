"""Weights in files: their sizes, their digests, and what a worker does with them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from aha.choices import EngineChoice
from aha.engines.vllm.extension.aha_vllm_worker import PROTOCOL
from aha.engines.vllm.publishing import Manifest, announce, buckets, load, written
from aha.errors import RunFailed, UserError
from stub_vllm import Worker, weights, with_vllm


class Here:
    """Workers that are asked without a server."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = workers

    def rpc(self, method: str, *arguments: str) -> list[dict[str, Any]]:
        return [getattr(one, method)(*arguments) for one in self.workers]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_buckets_hold_every_weight_once_and_no_more_than_they_may(sizes: list[int], rows: int) -> None:
    given_weights = {f"w{i}": torch.full((size, 2), float(i)) for i, size in enumerate(sizes)}
    made = list(buckets(given_weights, torch.float32, rows * 8))
    assert [name for bucket in made for name in bucket] == list(given_weights)
    for bucket in made:
        assert len(bucket) == 1 or sum(t.nbytes for t in bucket.values()) <= rows * 8
    merged = {name: tensor for bucket in made for name, tensor in bucket.items()}
    assert all(torch.equal(merged[name], tensor) for name, tensor in given_weights.items())


def test_tied_weights_travel_once_and_matrices_in_the_engines_type() -> None:
    (bucket,) = buckets(weights(), torch.bfloat16, 1 << 20)
    assert "head.weight" not in bucket and bucket["embed.weight"].dtype == torch.bfloat16
    assert bucket["norm"].dtype == torch.float32, "a bias of a router is not rounded"
    views = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.arange(6).view(3, 2)}
    (bucket,) = buckets(views, torch.bfloat16, 1 << 20)
    assert bucket["a"].is_contiguous() and bucket["a"][2].tolist() == [2.0, 5.0] and bucket["b"].dtype == torch.int64


def test_files_are_there_with_their_digests_until_the_end(tmp_path: Path) -> None:
    with written(weights(2.0), "x:1", torch.float32, str(tmp_path), 90) as manifest:
        folder = Path(manifest["folder"])
        assert (manifest["protocol"], manifest["tag"], folder.parent) == (PROTOCOL, "x:1", tmp_path.resolve())
        found = {}
        for one in manifest["buckets"]:
            data = (folder / one["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == one["digest"]
            tensors = safetensors.torch.load(data)
            assert len(tensors) == one["tensors"]
            found |= tensors
        assert set(found) == set(weights()) - {"head.weight"} and len(manifest["buckets"]) > 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("readers", "of_folder", "of_file"), [("user", 0o700, 0o600), ("group", 0o750, 0o640), ("all", 0o755, 0o644)]
)
def test_who_may_read_them_is_chosen(tmp_path: Path, readers: str, of_folder: int, of_file: int) -> None:
    """Whatever this process gives to new files."""
    before = os.umask(0o077)
    try:
        with written(weights(), "x:1", torch.float32, str(tmp_path), 1 << 20, readers) as manifest:
            folder = Path(manifest["folder"])
            assert folder.stat().st_mode & 0o777 == of_folder
            assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {of_file}
    finally:
        os.umask(before)
    with pytest.raises(ValueError, match="`readers` is of `folder`, which is not given"):
        EngineChoice(kind="vllm", readers="all")
    assert EngineChoice(kind="vllm", readers="all", folder="/shared").readers == "all"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nothing"
    with (
        pytest.raises(UserError, match=rf"{nowhere} \(No such file or directory\); name another engine.folder"),
        written(weights(), "x:1", torch.float32, str(nowhere), 90),
    ):
        pass


def publish(worker: Worker, value: float, tag: str = "x:1", *, fault: str = "", most: int = 90) -> Manifest:
    """Publish to one worker; `fault` is a file that is changed on its way, before or after it was checked."""
    with written(weights(value), tag, torch.float32, "", most) as manifest:
        file = Path(manifest["folder"]) / manifest["buckets"][1]["file"]
        if fault == "before":
            file.write_bytes(file.read_bytes()[:-1] + b"\1")
        announce(Here(worker), manifest)
        if fault == "after":
            file.write_bytes(file.read_bytes()[:-1] + b"\1")
        load(Here(worker), manifest)
    return manifest


def holds(worker: Worker, value: float) -> bool:
    """Whether all parameters, and the packed copies of them, have this value."""
    copies = [worker.model.embed.cpu_linear, worker.model.head.cpu_linear]
    return all(bool((p == value).all()) for p in [*worker.model.parameters(), *copies])


def test_weights_arrive_whole_bucket_by_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, worker = with_vllm(monkeypatch), Worker()
    publish(worker, 3.0)
    assert holds(worker, 3.0)
    publish(worker, 4.0, "x:2")
    assert holds(worker, 4.0) and calls == ["initialize", "finalize"] * 2


def test_a_corrupted_bucket_is_refused_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, worker = with_vllm(monkeypatch), Worker()
    publish(worker, 3.0)
    with pytest.raises(RunFailed, match=r"took over nothing of weights x:2: bucket 00001.safetensors has the digest"):
        publish(worker, 4.0, "x:2", fault="before")
    assert holds(worker, 3.0) and calls == ["initialize", "finalize"]


def test_a_bucket_that_changes_after_the_check_is_refused_and_the_next_publish_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, worker = with_vllm(monkeypatch), Worker()
    with pytest.raises(RunFailed, match=r"holds a part of weights x:1: bucket 00001.safetensors has the digest"):
        publish(worker, 3.0, fault="after")
    assert calls == ["initialize"]
    publish(worker, 4.0, "x:2")
    assert holds(worker, 4.0) and calls == ["initialize", "finalize", "initialize", "finalize"]


def test_every_call_may_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, worker = with_vllm(monkeypatch), Worker()
    with written(weights(3.0), "x:1", torch.float32, "", 90) as manifest:
        digests = [one["digest"] for one in manifest["buckets"]]
        for _ in range(2):
            assert worker.aha_check(json.dumps(manifest)) == {"checked": len(digests)}
        for digest in [*digests, digests[0]]:
            assert "loaded" in worker.aha_load(digest)
        again = worker.aha_check(json.dumps(manifest))
    assert again == {"checked": len(digests)}
    assert worker.aha_finish() == worker.aha_finish() == {"tag": "x:1", "loaded": 5}
    assert holds(worker, 3.0) and calls == ["initialize", "finalize"]


def test_an_update_that_is_not_whole_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with_vllm(monkeypatch)
    worker = Worker()
    assert worker.aha_finish() == {"fault": "no update has begun"}
    assert worker.aha_load("feed") == {"fault": "no update has announced a bucket feed"}
    with written(weights(3.0), "x:1", torch.float32, "", 90) as manifest:
        worker.aha_check(json.dumps(manifest))
        worker.aha_load(manifest["buckets"][0]["digest"])
        count = len(manifest["buckets"])
        assert f"{count - 1} of {count} buckets were not loaded" in worker.aha_finish()["fault"]
    fewer = {name: tensor for name, tensor in weights(3.0).items() if name != "down.weight"}
    with (
        written(fewer, "x:2", torch.float32, "", 1 << 20) as manifest,
        pytest.raises(RunFailed, match=r"a part of weights x:2: 1 parameters were in no bucket: down.weight"),
    ):
        announce(Here(worker), manifest)
        load(Here(worker), manifest)


def test_a_model_that_does_not_say_what_it_loaded_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_vllm(monkeypatch)
    worker = Worker()
    told = worker.model.load_weights
    monkeypatch.setattr(worker.model, "load_weights", lambda found: [told(found)][1:] or None)
    publish(worker, 3.0)
    assert holds(worker, 3.0)


def test_what_the_model_does_not_know_is_a_fault_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    with_vllm(monkeypatch)
    worker = Worker()
    with (
        written({"other": torch.zeros(2, 2)}, "x:1", torch.float32, "", 90) as manifest,
        pytest.raises(RunFailed, match="a part of weights x:1: KeyError: 'other'"),
    ):
        announce(Here(worker), manifest)
        load(Here(worker), manifest)


def test_a_folder_that_the_server_does_not_see_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_vllm(monkeypatch)
    with written(weights(), "x:1", torch.float32, "", 1 << 20) as manifest:
        pass
    with pytest.raises(
        RunFailed, match=r"cannot be read by the server \(No such file.*name an engine.folder and engine.readers"
    ):
        announce(Here(Worker()), manifest)


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_vllm(monkeypatch)
    fault = Worker().aha_check(json.dumps({"protocol": PROTOCOL + 1}))
    assert fault == {"fault": f"the worker speaks protocol {PROTOCOL}, the client {PROTOCOL + 1}"}
