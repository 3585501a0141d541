"""Things on the host that hostile programs reach for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SECRET = "the-secret-of-the-host"


@dataclass
class Host:
    """Decoys: a file, a process, two listening sockets, a folder that everyone may write."""

    folder: Path
    decoy: Path
    sentinel: subprocess.Popen[bytes]
    port: int
    abstract: str
    visitors: list[str] = field(default_factory=list)

    def fill(self, source: str) -> str:
        """`source` with the decoys' places filled in."""
        places = {"DECOY": str(self.decoy), "FOLDER": str(self.folder), "SENTINEL": str(self.sentinel.pid)}
        for name, value in {**places, "PORT": str(self.port), "ABSTRACT": self.abstract}.items():
            source = source.replace(f"@{name}@", value)
        return source
