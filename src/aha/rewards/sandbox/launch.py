"""Started by `slot.py` as host root only: become an ordinary user, then bubblewrap.

python launch.py UID FOLDER COMMAND...

The kernel does not count the processes of host root, so the sandbox must not be started by it. Where FOLDER (the
interpreter's) lies below one that ordinary users cannot enter, such as /root, it is mounted at its own path in a mount
namespace of our own, in which nothing else of that closed folder is left. Standard library only.
"""

import ctypes
import os
import sys

_NEWNS, _BIND, _REC, _PRIVATE = 0x00020000, 4096, 16384, 1 << 18


def _closed_ancestor(folder: str) -> str | None:
    """The topmost folder on the way to `folder` that others may not enter."""
    parts = folder.strip("/").split("/")
    ways = ["/" + "/".join(parts[: i + 1]) for i in range(len(parts))]
    return next((way for way in ways if not os.stat(way).st_mode & 0o001), None)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {target}: {os.strerror(code)}")


def _show(folder: str) -> None:
    """Make `folder` reachable for an ordinary user, in a mount namespace of this process."""
    closed = _closed_ancestor(folder)
    if closed is None:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(_NEWNS):
        raise OSError(ctypes.get_errno(), f"{closed} is closed to ordinary users, and no mount namespace can be made")
    handle = os.open(folder, os.O_PATH)
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", closed, "tmpfs", 0, "mode=755,size=1m")
    os.makedirs(folder, exist_ok=True)
    _mount(f"/proc/self/fd/{handle}", folder, None, _BIND | _REC)
    os.close(handle)


def main() -> None:
    """Show the interpreter's folder, drop every privilege, and go on as COMMAND."""
    user, folder, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    os.umask(0o022)
    _show(folder)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
