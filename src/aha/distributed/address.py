"""Which network interface the processes of several machines talk over.

    settle(store, rank, size)      # on every process, before connections are made; all have come when it returns

gloo takes the address that the machine's own name leads to. Where that is the loopback's (127.0.1.1 on Debian and
Ubuntu, 127.0.0.1 where the name leads nowhere), no other machine reaches it: then the interface is named to it that
leads to the machine of the first process. A GLOO_SOCKET_IFNAME that is set already is kept.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
from typing import Protocol

import psutil

NAMED = "GLOO_SOCKET_IFNAME"
LOOPBACK = "127.0.0.1"


class Store(Protocol):
    """Where all processes meet (torch.distributed.Store)."""

    def set(self, key: str, value: str) -> None: ...

    def multi_get(self, keys: list[str]) -> list[bytes]: ...


def settle(store: Store, rank: int, size: int) -> None:
    """Choose this process's interface, where gloo's own choice cannot be reached. Raises what the store raises where
    not all come in its time."""
    reached, own = way_to(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    store.set(f"aha-way-{rank}", json.dumps([socket.gethostname(), reached]))
    ways = [json.loads(data) for data in store.multi_get([f"aha-way-{one}" for one in range(size)])]
    if NAMED in os.environ or len({host for host, _ in ways}) == 1 or not loopback(glooes()):
        return
    if loopback(own):  # the first machine's name leads to itself: others know better where it is
        own = next((reached for _, reached in ways if not loopback(reached)), own)
    name = interface_of(own)
    if name and not loopback(own):
        os.environ[NAMED] = name


def way_to(host: str, port: int) -> tuple[str, str]:
    """The address that `host` stands for here, and this machine's own on the way there; the loopback's where there is
    none. Nothing is sent."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as one:
                one.connect(address)
                return str(address[0]), str(one.getsockname()[0])
    return LOOPBACK, LOOPBACK


def glooes() -> str:
    """The address that gloo takes by itself: that of the machine's name if it is one of this machine's, else the
    loopback's."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(socket.gethostname(), 0, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as one:
                one.bind((address[0], 0, *address[2:]))
                return str(address[0])
    return LOOPBACK


def interface_of(address: str) -> str:
    """The name of the interface that has `address`; "" where none has."""
    wanted = address.partition("%")[0]
    for name, found in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == wanted for one in found):
            return str(name)
    return ""


def loopback(address: str) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def taken() -> str:
    """The address that this process is reached at by gloo, with its interface, in words."""
    name = os.environ.get(NAMED, "")
    if not name:
        address = glooes()
        return f"{address} ({interface_of(address) or 'no interface'})"
    addresses = [one.address for one in psutil.net_if_addrs().get(name, []) if one.family == socket.AF_INET]
    return f"{addresses[0] if addresses else 'no address'} ({name})"
