"""The watchdog, in a process of its own: it ends what is stuck and leaves alone what is not."""

from __future__ import annotations

import subprocess
import sys
import time

HEAD = "import time\nfrom aha.pipeline.guard import watchdog\n"


def ended(code: str) -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr, time.monotonic() - began


def test_a_stuck_phase_shows_all_stacks_and_ends() -> None:
    code = """
import threading
def waits_for_ever(): threading.Event().wait()
threading.Thread(target=waits_for_ever, daemon=True).start()
def is_stuck(): time.sleep(60)
with watchdog(0.5): is_stuck()
"""
    status, said, seconds = ended(code)
    assert status == 1 and "is_stuck" in said and "waits_for_ever" in said and seconds < 30


def test_phases_that_end_have_as_long_again() -> None:
    code = """
with watchdog(1.0) as alive:
    for _ in range(5):
        time.sleep(0.4)
        alive()
time.sleep(1.5)
print("done")
"""
    assert ended(code)[0] == 0


def test_it_can_be_off() -> None:
    assert ended("with watchdog(0): time.sleep(0.2)")[0] == 0
