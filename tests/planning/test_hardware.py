"""Devices: the table, how a user names them, and this machine."""

from __future__ import annotations

import math

import pytest

from aha import runtime
from aha.errors import UserError
from aha.planning.hardware import GPUS, choose, here


def test_names() -> None:
    assert choose("8xH100") == (8, GPUS["H100"])
    assert choose("h100") == (1, GPUS["H100"])
    assert choose("512xa100-80") == (512, GPUS["A100-80"])
    assert choose("2xMI300X")[1].memory == 191.5 * 2**30
    assert choose("64xH800", price=1.25)[1].dollars_an_hour == 1.25
    assert GPUS["H800"].dollars_an_hour == 2.0  # the paper's


@pytest.mark.parametrize("spec", ["8xH101", "0xH100", "", "x", "-1xH100"])
def test_unknown_devices(spec: str) -> None:
    with pytest.raises(UserError, match="--gpus"):
        choose(spec)


def test_a_name_near_a_known_one() -> None:
    with pytest.raises(UserError, match="did you mean 'H100'"):
        choose("8xH1000")


def test_this_machine() -> None:
    chosen = runtime.choose("cpu", "float32", 1)
    device = here(chosen)
    assert not device.gpu and device.dollars_an_hour == 0 and device.memory > 1e9
    assert 1e8 < device.flops("float32") < 1e15 and 1e8 < device.bandwidth < 1e14
    assert math.isfinite(device.flops("bfloat16")) and "1 thread" in device.name
