"""The manifest that is shown in the documentation: what it runs is a recipe, and its pods have what that needs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from aha.config import override
from aha.distributed.ray.cluster import needs_of
from aha.pipeline.recipes import recipe

FILE = Path(__file__).parents[3] / "docs" / "ray-job.yaml"


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(FILE.read_text(encoding="utf-8"))}


def test_its_command_runs_a_recipe_that_its_pods_have_room_for(documents: dict[str, Any]) -> None:
    spec = documents["RayJob"]["spec"]
    aha, run, name, out, folder, *rest = shlex.split(spec["entrypoint"])
    assert (aha, run, out) == ("aha", "run", "--out") and set(rest[::2]) == {"--set"}
    made = override(recipe(name), rest[1::2])
    assert made.launcher == "ray" and made.workers.address == "auto" and made.device == "cuda"
    needs = needs_of(made, 0, local=False)
    gpus = cpus = 0
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        gpus += group["replicas"] * int(limits.get("nvidia.com/gpu", 0))
        cpus += group["replicas"] * int(limits["cpu"])
    assert sum(bundle["GPU"] for bundle in needs.bundles) == gpus
    assert sum(bundle["CPU"] for bundle in needs.bundles) <= cpus
    assert folder.startswith("/runs/")


def test_every_pod_sees_the_run_folder(documents: dict[str, Any]) -> None:
    cluster = documents["RayJob"]["spec"]["rayClusterSpec"]
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        claims = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]}
        (container,) = pod["containers"]
        assert {one["mountPath"]: claims[one["name"]] for one in container["volumeMounts"]} == {
            "/runs": claim["metadata"]["name"]
        }
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
