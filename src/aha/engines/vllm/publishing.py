"""Weights on their way into vLLM: files of bounded size, each with its digest, taken over as a whole or not at all.

    with written(weights, "3f:1", torch.bfloat16, folder, 256 << 20) as manifest:
        announce(backend, manifest)     # every worker reads every file; where one is wrong, nothing was taken over
        load(backend, manifest)         # one file at a time; a fault here leaves vLLM without a whole set of weights

The files exist together, so that all can be checked before the first is loaded: the folder needs room for the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from torch import Tensor

from aha.engines.vllm.extension.aha_vllm_worker import PROTOCOL
from aha.errors import RunFailed, UserError

Manifest = dict[str, Any]
MODES = {"user": (0o700, 0o600), "group": (0o750, 0o640), "all": (0o755, 0o644)}  # of a folder, and of files in it


class Workers(Protocol):
    """vLLM's workers."""

    def rpc(self, method: str, *arguments: str) -> list[dict[str, Any]]:
        """What each worker answers to a method of `extension/aha_vllm_worker.py`."""
        ...


def buckets(weights: Mapping[str, Tensor], dtype: torch.dtype, most_bytes: int) -> Iterator[dict[str, Tensor]]:
    """The weights, as many as fit into `most_bytes` at a time; a larger one comes alone. Tied ones come once.

    Matrices are in `dtype`, into which vLLM would turn them. The others, which are small, stay what they are.
    """
    bucket: dict[str, Tensor] = {}
    size = 0
    seen: dict[tuple[int, torch.Size], Tensor] = {}  # kept, so that no other tensor takes the place of one
    for name, tensor in weights.items():
        where = (tensor.data_ptr(), tensor.shape)
        if where in seen and tensor.numel():
            continue
        seen[where] = tensor
        narrowed = dtype if tensor.is_floating_point() and tensor.ndim > 1 else tensor.dtype
        ready = tensor.detach().to("cpu", narrowed).contiguous()
        if bucket and size + ready.nbytes > most_bytes:
            yield bucket
            bucket, size = {}, 0
        bucket[name] = ready
        size += ready.nbytes
    if bucket:
        yield bucket


@contextmanager
def written(
    weights: Mapping[str, Tensor], tag: str, dtype: torch.dtype, folder: str, most_bytes: int, readers: str = "user"
) -> Iterator[Manifest]:
    """The manifest of the weights' files, which are there until the end of the `with`, for `readers` (`MODES`) to read.
    Raises UserError."""
    of_folder, of_file = MODES[readers]
    try:
        with tempfile.TemporaryDirectory(prefix="aha-weights-", dir=folder or None) as place:
            os.chmod(place, of_folder)
            listed = []
            for number, bucket in enumerate(buckets(weights, dtype, most_bytes)):
                data = safetensors.torch.save(bucket)
                name = f"{number:05d}.safetensors"
                (Path(place) / name).write_bytes(data)
                os.chmod(Path(place) / name, of_file)
                listed.append({"file": name, "digest": hashlib.sha256(data).hexdigest(), "tensors": len(bucket)})
            yield {"protocol": PROTOCOL, "tag": tag, "folder": str(Path(place).resolve()), "buckets": listed}
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise UserError(
            f"weights cannot be written to {where} ({error.strerror}); name another engine.folder"
        ) from error


def announce(workers: Workers, manifest: Manifest) -> None:
    """Have every worker compare all files with their digests. Raises RunFailed: nothing was taken over."""
    for answer in workers.rpc("aha_check", json.dumps(manifest)):
        if answer.get("checked") != len(manifest["buckets"]):
            raise RunFailed(f"vLLM took over nothing of weights {manifest['tag']}: {_fault(answer)}")


def load(workers: Workers, manifest: Manifest) -> None:
    """Load all files. Raises RunFailed: what vLLM holds is then no whole set of weights."""
    for bucket in manifest["buckets"]:
        for answer in workers.rpc("aha_load", bucket["digest"]):
            if answer.get("loaded") != bucket["tensors"]:
                raise RunFailed(f"vLLM holds a part of weights {manifest['tag']}: {_fault(answer)}")
    for answer in workers.rpc("aha_finish"):
        if answer.get("tag") != manifest["tag"]:
            raise RunFailed(f"vLLM holds a part of weights {manifest['tag']}: {_fault(answer)}")


def _fault(answer: Mapping[str, Any]) -> str:
    return str(answer.get("fault") or f"a worker answers {dict(answer)}")
