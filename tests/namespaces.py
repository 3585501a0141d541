"""Hosts of a cluster, played by network namespaces: addresses, names and a network of their own on this one machine.

    with hosts(2) as (one, two):                     # needs root and `ip netns`: see `missing()`
        subprocess.Popen(one.command(["torchrun", ...]))
        with two.unplugged(): time.sleep(10)

Each host has one interface, at a bridge that joins all, and no way to any other network. Its /etc/hosts is written as
Debian and Ubuntu do: a host's own name leads to 127.0.1.1, those of the others to their addresses.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 20.0
NAMES_OF_HOSTS = Path("/etc/netns")  # what `ip netns exec` lays over /etc


def missing() -> str:
    """Why hosts cannot be played here; "" where they can."""
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "hosts are played by `ip netns` and `unshare` (iproute2, util-linux), which are not here"
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    probe = f"aha-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=PATIENCE_S)
    if made.returncode == 0:
        _ip("netns", "delete", probe)
        return ""
    return f"network namespaces cannot be made here: {made.stderr.strip()}"


@dataclass(frozen=True, slots=True)
class Host:
    """One host: its name, which is that of its namespace too, its address, and its interface."""

    name: str
    address: str
    interface: str

    def command(self, arguments: Sequence[str]) -> list[str]:
        """`arguments` as they are to be run on this host."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return ["ip", "netns", "exec", self.name, *named, *arguments]

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """For as long as this lasts, nothing reaches the host and nothing leaves it."""
        _ip("-n", self.name, "link", "set", self.interface, "down")
        try:
            yield
        finally:
            _ip("-n", self.name, "link", "set", self.interface, "up")


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """`count` hosts in one network; everything is gone after it, processes that still run there too."""
    tag = f"{os.getpid() % 0xFFFF:x}"
    bridge, wires = f"aha{tag}-sw", f"aha{tag}-net"  # the bridge too has a namespace, so that this machine has no part
    made = [Host(f"aha{tag}-{i}", f"10.77.{os.getpid() % 250}.{i + 1}", f"aha{tag}e{i}") for i in range(count)]
    with contextlib.ExitStack() as undo:
        undo.callback(_end, [wires])
        _ip("netns", "add", wires)
        _ip("-n", wires, "link", "add", bridge, "type", "bridge")
        _ip("-n", wires, "link", "set", bridge, "up")
        undo.callback(_end, [host.name for host in made])
        for host in made:
            _write_names(host, made)
            _ip("netns", "add", host.name)
            port = f"{host.interface}p"
            _ip("link", "add", host.interface, "netns", host.name, "type", "veth", "peer", "name", port, "netns", wires)
            _ip("-n", wires, "link", "set", port, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.interface)
            for device in ("lo", host.interface):
                _ip("-n", host.name, "link", "set", device, "up")
        yield made


def _write_names(host: Host, made: Sequence[Host]) -> None:
    folder = NAMES_OF_HOSTS / host.name
    folder.mkdir(parents=True)
    lines = [f"{'127.0.1.1' if one == host else one.address}\t{one.name}\n" for one in made]
    (folder / "hosts").write_text("127.0.0.1\tlocalhost\n" + "".join(lines))
    (folder / "resolv.conf").touch()  # no name server: nobody waits for one


def _end(names: Sequence[str]) -> None:
    for name in names:
        asked = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, timeout=PATIENCE_S)
        for number in asked.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), 9)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=PATIENCE_S)
        shutil.rmtree(NAMES_OF_HOSTS / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        NAMES_OF_HOSTS.rmdir()  # where nobody else has hosts


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=PATIENCE_S)
