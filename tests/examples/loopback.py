"""A federation of Flower on this machine: a SuperLink and SuperNodes, as sites run them, on ports that are free."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Loopback:
    """A federation that is up.

    Attributes:
        home: Folder of everything that Flower keeps, logs among it.
        environment: Of every process.
    """

    home: Path
    environment: Mapping[str, str]

    def run(self, app: Path, *options: str) -> str:
        """Run an app to its end, and return what the server printed."""
        command = [str(BIN / "flwr"), "run", str(app), "loopback", "--stream", *options]
        done = subprocess.run(command, env={**self.environment}, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, command: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a process that Ctrl-C does not reach before it is ended in order."""
        with (self.home / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [str(BIN / command), "--insecure", *options],
                env={**self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@contextmanager
def loopback(home: Path, nodes: Sequence[str], **environment: str) -> Generator[Loopback]:
    """Start a SuperLink, and a SuperNode for each configuration in ``nodes``; whatever happens, end them all."""
    link, *ports = free_ports(len(nodes) + 1)
    home.mkdir()
    connection = f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{link}"\n'
    (home / "config.toml").write_text(f"{connection}insecure = true\n", encoding="utf-8")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    federation = Loopback(home, os.environ | QUIET | environment | {"FLWR_HOME": str(home), "PATH": path})
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(
            federation.start("flower-superlink", "--port", str(link), "--disable-runtime-dependency-installation")
        )
        for port, node in zip(ports, nodes, strict=True):
            options = ("--superlink", f"127.0.0.1:{link}", "--port", str(port), "--node-config", node)
            started.append(federation.start("flower-supernode", *options))
        wait_for(link)
        yield federation
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        end_all(home)


def end_all(home: Path, seconds: float = 30.0) -> None:
    """End what is left of ``home``, what Flower started by itself included, and return once it is gone."""
    end = time.monotonic() + seconds
    while (left := processes_of(home)) and time.monotonic() < end:
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(port: int, seconds: float = 120.0) -> None:
    """Return once somebody listens on ``port``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.2)
    raise TimeoutError(f"nobody listens on port {port}")


def processes_of(home: Path) -> list[int]:
    """Return the processes that were started for ``home``."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is somebody else's
            if f"FLWR_HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
