"""Start an audit again and again, and kill -9 it each time at another moment.

    python killing.py PLAN.json RUN PARTS:SECONDS ...

Each is killed some seconds after that many parts are there. One process imports everything and stays single-threaded,
so that every audit can be a fork of it. It prints, after each kill, when the parts that are there were made.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from leakward.auditing import audit


def parts(run: Path) -> dict[str, int]:
    return {part.name: part.stat().st_mtime_ns for part in run.glob("parts/[!.]*") if part.is_dir()}


def main() -> None:
    plan, run = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(1)
    for moment in sys.argv[3:]:
        count, extra = moment.split(":")
        child = os.fork()
        if child == 0:
            audit(plan, run)
            os._exit(0)
        while len(parts(run)) < int(count) and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(float(extra))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"killed": os.WIFSIGNALED(status), "parts": parts(run)}), flush=True)
    audit(plan, run)


if __name__ == "__main__":
    main()
