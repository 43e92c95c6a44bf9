"""``crew``: the process of an audit and, where it takes long, helpers beside it on the same machine.

A helper is a process of its own. It costs some seconds of imports and of opening the site, so none is started before
the audit has been at work for a while, and none without a part that waits for it. There are at most as many processes
as PyTorch would use threads (``OMP_NUM_THREADS`` says otherwise), and as memory allows. A helper that dies costs no
more than the part it was at, which somebody else makes.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Condition, Thread
from typing import Any

import psutil
import torch

from leakward.auditing.bench import Bench
from leakward.auditing.plan import plain
from leakward.errors import LeakwardError

PATIENCE = 10.0
"""Seconds that an audit works alone: about what it costs to start a helper."""
ROOM = 1.5
"""Free memory that a helper needs to be started, as a multiple of what the audit's own process has."""
PAUSE = 0.5
"""Seconds between two looks at what helpers do."""
CODE = (
    "import json, sys; setup = json.loads(sys.stdin.readline()); sys.path[:] = setup.pop('path'); "
    "from leakward.auditing.helper import serve; serve(**setup)"
)

Tell = Callable[[str, float], None]
"""Called with a part that is being made, and how many of those asked for are done; a part of one counts."""
Make = Callable[[Sequence[str], Tell], None]
"""Makes parts of which none needs another, and returns when all are there."""
Words = Iterator[dict[str, Any]]


@contextmanager
def crew(bench: Bench) -> Generator[Make]:
    """Yield what makes parts on this machine."""
    ours = _Crew(bench)
    threads = [Thread(target=ours.help, daemon=True) for _ in range(_cores(bench.site.device) - 1)]
    for thread in threads:
        thread.start()
    try:
        yield ours.make
    finally:
        ours.close()
        for thread in threads:
            thread.join()


def most_processes(device: torch.device, memory: float) -> int:
    """Return how many processes an audit can have here, if each holds so many bytes of ``memory``."""
    room = psutil.virtual_memory().available // (ROOM * memory)
    return int(max(1, min(_cores(device), room)))


def _cores(device: torch.device) -> int:
    return torch.get_num_threads() if device.type == "cpu" else 1


class _Crew:
    """What the audit, and the threads that look after its helpers, have in common; ``news`` guards it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.news = bench, Condition()
        self.waiting: list[str] = []
        self.helped: dict[str, float] = {}  # how far the parts are that helpers are at
        self.done, self.told = 0, 0.0
        self.processes: list[subprocess.Popen[str]] = []
        self.starting, self.closed = 0, False
        self.wrong: Exception | None = None

    def make(self, parts: Sequence[str], tell: Tell) -> None:
        """Make parts, and wait for those that helpers make."""
        with self.news:
            self.waiting, self.done, self.told = [*parts], 0, 0.0
            self.news.notify_all()
        while self.waiting or self.helped:
            part = self._take()
            if part is None:
                self._wait(tell)
            else:
                within = partial(self._tell, tell, part)
                within(0.0)
                self.bench.make(part, within)
                self._finish(part)

    def help(self) -> None:
        """Let a helper make parts, once that pays, until there is no more to do; runs in a thread."""
        with self.news:
            self.news.wait_for(lambda: self.closed, PATIENCE)
            self.news.wait_for(lambda: self.closed or len(self.waiting) > self.starting)
            if self.closed or not self._room():
                return
            process = self._start()
            self.starting += 1
        with suppress(BrokenPipeError), process:
            words = _words(process)
            ready = next(words, {})
            with self.news:
                self.starting -= 1
            if "ready" in ready:
                self._employ(process, words)

    def close(self) -> None:
        """End all helpers, whatever they are at."""
        with self.news:
            self.closed = True
            self.news.notify_all()
            for process in self.processes:
                process.kill()

    def _take(self) -> str | None:
        with self.news:
            return self.waiting.pop(0) if self.waiting else None

    def _wait(self, tell: Tell) -> None:
        with self.news:
            self.news.wait(PAUSE)
            part = next(iter(self.helped), None)
        if part is not None:
            self._tell(tell, part, 0.0)

    def _tell(self, tell: Tell, part: str, fraction: float) -> None:
        """Say how much is done, the part of this process being done to a ``fraction``."""
        with self.news:
            if self.wrong is not None:
                raise self.wrong
            self.told = max(self.told, self.done + fraction + sum(self.helped.values()))
        tell(part, self.told)

    def _finish(self, part: str) -> None:
        with self.news:
            self.helped.pop(part, None)
            self.done += 1
            self.news.notify_all()

    def _room(self) -> bool:
        """Return whether there is memory for one more helper, beside those that are being started."""
        needed = ROOM * psutil.Process().memory_info().rss * (1 + self.starting)
        return psutil.virtual_memory().available > needed

    def _start(self) -> subprocess.Popen[str]:
        bench = self.bench
        process = subprocess.Popen(
            [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.processes.append(process)
        folders = {"out": str(bench.store.folder), "trainings": str(bench.trained.folder)}
        setup = {"path": [*map(str, sys.path)], "plan": plain(bench.plan), "device": bench.site.device.type}
        _say(process, setup | folders)
        return process

    def _employ(self, process: subprocess.Popen[str], words: Words) -> None:
        """Give a helper one part after the other."""
        while True:
            with self.news:
                self.news.wait_for(lambda: self.closed or self.waiting)
                if self.closed:
                    return
                part = self.waiting.pop(0)
                self.helped[part] = 0.0
            if not self._made(process, words, part):
                return

    def _made(self, process: subprocess.Popen[str], words: Words, part: str) -> bool:
        """Return whether a helper has made a part; if it died, the part waits again."""
        with suppress(BrokenPipeError):
            _say(process, part)
        for word in words:
            if "done" in word:
                self._finish(part)
                return True
            with self.news:
                self.helped[part] = word.get("fraction", 0.0)
                self.wrong = self.wrong or _error(word)
        with self.news:
            del self.helped[part]
            self.waiting.insert(0, part)
            self.news.notify_all()
        return False


def _say(process: subprocess.Popen[str], word: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(word) + "\n")
    process.stdin.flush()


def _words(process: subprocess.Popen[str]) -> Words:
    """Yield what a helper says, to its last whole word."""
    assert process.stdout is not None
    with suppress(ValueError):
        yield from map(json.loads, process.stdout)


def _error(word: dict[str, Any]) -> Exception | None:
    """Return what went wrong, if that is what a helper says."""
    if "error" in word:
        return LeakwardError(word["error"])
    return RuntimeError(word["bug"]) if "bug" in word else None
