"""A helper: a process that makes parts for the audit that started it, one at a time.

It is told in lines of JSON on its standard input: first where to work, then the id of a part whenever it has answered
that the last one is done. It ends with the audit, however that ends.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from leakward.auditing.bench import open_bench
from leakward.auditing.plan import make_plan
from leakward.errors import LeakwardError

PAUSE = 0.5
"""Seconds between two words about how far a part is."""
FIRST_TO_GO = "1000"
"""Of Linux: where memory runs out, end this process before others."""
Say = Callable[..., None]


def serve(plan: dict[str, Any], out: str, trainings: str, device: str) -> None:
    """Make the parts that are asked for, until there is no audit any more.

    Args:
        plan: Its plain tables.
        out: Run folder.
        trainings: Folder of trained networks.
        device: ``cpu`` or ``cuda``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the audit, which then ends this process
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    say, asked = _answers(), _asked()
    try:
        bench = open_bench(make_plan(plan), Path(out), device, Path(trainings))
        say(ready=True)
        for part in asked:
            bench.make(part, _now_and_then(say))
            say(done=True)
    except LeakwardError as error:
        say(error=str(error))
    except Exception:
        say(bug=traceback.format_exc())


def _answers() -> Say:
    """Return what answers on the standard output; what libraries print there goes elsewhere from now on."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(**words: object) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    return say


def _asked() -> Iterator[str]:
    """Return the parts that are asked for; the process ends at once when nobody is there to ask."""
    parts: SimpleQueue[str] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            parts.put(json.loads(line))
        os._exit(0)

    Thread(target=listen, daemon=True).start()
    return iter(parts.get, None)


def _now_and_then(say: Say) -> Callable[[float], None]:
    """Return what tells how far a part is, if it has not done so only just now."""
    last = [time.monotonic()]

    def tell(fraction: float) -> None:
        if time.monotonic() - last[0] > PAUSE:
            last[0] = time.monotonic()
            say(fraction=fraction)

    return tell
