"""The interface that processes of several machines talk over (`test_two_hosts.py` has two that do)."""

from __future__ import annotations

import json
import os
import socket
from types import SimpleNamespace

import psutil
import pytest

from aha.distributed import address
from aha.distributed.address import NAMED, glooes, interface_of, loopback, settle, taken, way_to

FOUND = {
    "lo": [SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")],
    "ib0": [SimpleNamespace(family=socket.AF_INET, address="10.0.0.1"),
            SimpleNamespace(family=socket.AF_INET6, address="fe80::1%ib0")],
}  # fmt: skip


class Store:
    """Where the others have said how they reach the first machine."""

    def __init__(self, *others: tuple[str, str]) -> None:
        self.said = {f"aha-way-{rank}": json.dumps(other).encode() for rank, other in enumerate(others, 1)}

    def set(self, key: str, value: str) -> None:
        self.said[key] = value.encode()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.said[key] for key in keys]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One whose own name leads to 127.0.1.1, and which is the first one's."""
    monkeypatch.delenv(NAMED, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: FOUND)
    monkeypatch.setattr(socket, "gethostname", lambda: "head")
    monkeypatch.setattr(address, "glooes", lambda: "127.0.1.1")
    monkeypatch.setattr(address, "way_to", lambda host, port: ("127.0.1.1", "127.0.0.1"))
    return monkeypatch


def named(store: Store, size: int = 2) -> str:
    settle(store, 0, size)
    found = os.environ.get(NAMED, "")
    os.environ.pop(NAMED, None)
    return found


def test_the_others_know_where_the_first_machine_is(machine: pytest.MonkeyPatch) -> None:
    assert named(Store(("worker", "10.0.0.1"))) == "ib0"
    assert named(Store(("worker", "127.0.0.1"), ("other", "10.0.0.1")), 3) == "ib0"
    assert named(Store(("worker", "10.9.9.9"))) == "", "no interface of this machine has it"
    machine.setattr(address, "way_to", lambda host, port: ("10.0.0.9", "10.0.0.1"))  # on another machine
    assert named(Store(("worker", "10.0.0.9"))) == "ib0"


def test_what_is_well_is_left(machine: pytest.MonkeyPatch) -> None:
    assert named(Store(("head", "10.0.0.1"))) == "", "one machine"
    machine.setattr(address, "glooes", lambda: "10.0.0.1")
    assert named(Store(("worker", "10.0.0.1"))) == "", "gloo's own choice can be reached"
    machine.setenv(NAMED, "lo")
    assert named(Store(("worker", "10.0.0.1"))) == "lo", "what was set is kept"


def test_addresses_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert way_to("127.0.0.1", 29500) == ("127.0.0.1", "127.0.0.1")
    assert glooes() and taken().endswith(")")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert way_to("head", 29500) == ("127.0.0.1", "127.0.0.1") and glooes() == "127.0.0.1"


def test_interfaces_and_their_addresses(machine: pytest.MonkeyPatch) -> None:
    assert interface_of("10.0.0.1") == interface_of("fe80::1") == "ib0" and interface_of("10.0.0.2") == ""
    assert loopback("127.0.1.1") and loopback("::1") and not loopback("fe80::1%ib0")
    machine.setenv(NAMED, "ib0")
    assert taken() == "10.0.0.1 (ib0)"
    machine.setenv(NAMED, "eth7")
    assert taken() == "no address (eth7)"
