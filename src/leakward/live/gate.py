"""The gate: an update leaves only if a judgement said so in time."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from leakward.live.settings import Gate
from leakward.settings import plain_fields


@dataclass(frozen=True)
class Decision:
    """On one update.

    Attributes:
        send: Whether it may leave.
        reason: In a sentence without patient data.
        identified: Share of the images that the attack identified, or None.
    """

    send: bool
    reason: str
    identified: float | None


def judged(capture: Path, private: Path, gate: Gate) -> Decision:
    """Return the decision on a capture; whatever goes wrong withholds it.

    Args:
        capture: Of the update that is about to leave.
        private: File of the batch behind it.
        gate: Of the site.
    """
    command = [
        sys.executable,
        "-m",
        "leakward.live.judging",
        str(capture),
        str(private),
        json.dumps(plain_fields(gate)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=gate.seconds, check=False, text=True)
    except subprocess.TimeoutExpired:
        return Decision(False, f"the judgement took longer than {gate.seconds:g} seconds", None)
    if done.returncode:
        return Decision(False, "the judgement failed", None)
    try:
        return Decision(**json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, TypeError, IndexError):
        return Decision(False, "the judgement gave no answer", None)
