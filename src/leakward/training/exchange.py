"""``Exchange``: the grid that a strategy sees. It chooses the clients of a round, counts, and gives up the lost ones.

Flower names nodes by random numbers, and replies come in the order in which clients finish. Here clients are chosen by
their own numbers and replies are put in that order, so that equal seeds give equal sums to the last digit.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from leakward.errors import DivergedError, LeakwardError
from leakward.training.records import size
from leakward.training.results import Traffic
from leakward.training.settings import Job
from leakward.training.sites import chosen

POLL = 0.05
"""Seconds between two looks for replies."""
DIVERGED = 3
"""Code of the error of a client whose training gave weights that are not finite."""


class StoppedError(Exception):
    """The user does not wait any longer."""


class Exchange(Grid):
    """The grid of one job.

    Attributes:
        grid: Of the federation.
        job: Whose clients are asked.
        nodes: Flower's node of every client that is there, by the client's number.
        stopped: Set when nobody waits any longer.
        heard: Called after each reply with the number of replies and of clients asked.
        round: Number of exchanges so far.
        last: What the last one took.
    """

    def __init__(
        self, grid: Grid, job: Job, nodes: Mapping[int, int], stopped: Event, heard: Callable[[int, int], None]
    ) -> None:
        self.grid, self.job, self.nodes, self.stopped, self.heard = grid, job, nodes, stopped, heard
        self.round = 0
        self.last = Traffic(0, 0, 0.0, 0, 0)

    def chosen(self) -> list[int]:
        """Return the clients of the coming round by number, whether they are there or not."""
        return chosen(self.job, self.round + 1)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes of the coming round that are there, in the order of their clients."""
        return [self.nodes[client] for client in self.chosen() if client in self.nodes]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send one round's messages, and return the updates that come in time, in the order of clients.

        Raises:
            DivergedError: If every client that was asked says that its weights are not finite.
            LeakwardError: If no client sends one for another reason.
        """
        sent = list(messages)
        if not sent:  # there is no evaluation at the clients
            return []
        asked = len(self.chosen())
        start, down = time.perf_counter(), sum(map(size, sent))
        replies = collect(self.grid, sent, timeout, self.stopped, lambda came: self.heard(came, asked))
        good = [reply for reply in replies if reply.has_content()]
        self.round += 1
        if not good:
            wanted = f"an update of at least one of {asked} clients"
            kind = DivergedError if sum(map(diverged, replies)) == asked else LeakwardError
            raise kind(f"round {self.round}: expected {wanted}, got none; {_reason(replies)}")
        seconds, up = time.perf_counter() - start, sum(map(size, good))
        self.last = Traffic(len(good), asked - len(good), seconds, down, up)
        place = {node: client for client, node in self.nodes.items()}
        return sorted(good, key=lambda reply: place[reply.metadata.src_node_id])

    def set_run(self, run: Any) -> None:
        """Pass on."""
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        """Pass on."""
        return self.grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message, as Flower's older strategies ask for."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on."""
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pass on."""
        return self.grid.pull_messages(message_ids)


def enrol(grid: Grid, clients: int, timeout: float, stopped: Event) -> dict[int, int]:
    """Wait for ``clients`` nodes, ask each for the number of its client, and return the nodes by that number.

    Raises:
        LeakwardError: If no node tells, or two tell the same.
    """
    end = time.monotonic() + timeout
    while len(nodes := list(grid.get_node_ids())) < clients and time.monotonic() < end:
        _pause(stopped)
    questions = [Message(RecordDict(), node, MessageType.QUERY) for node in nodes]
    replies = collect(grid, questions, timeout, stopped, lambda _: None)
    found: dict[int, int] = {}
    for reply in replies:
        if reply.has_content():
            number = int(str(reply.content.metric_records["client"]["number"]))
            if number in found:
                raise LeakwardError(f"expected clients of different numbers, got two of number {number}; renumber them")
            found[number] = reply.metadata.src_node_id
    if not found:
        raise LeakwardError(f"expected {clients} clients, got none; {_reason(replies)}")
    return found


def collect(
    grid: Grid, messages: Sequence[Message], timeout: float | None, stopped: Event, heard: Callable[[int], None]
) -> list[Message]:
    """Send ``messages`` and return the replies, errors among them, that come within ``timeout`` seconds.

    Raises:
        StoppedError: If nobody waits any longer.
    """
    waiting, replies = set(grid.push_messages(messages)), list[Message]()
    end = float("inf") if timeout is None else time.monotonic() + timeout
    while waiting and time.monotonic() < end:
        _pause(stopped)
        new = list(grid.pull_messages(waiting))
        waiting -= {reply.metadata.reply_to_message_id for reply in new}
        replies += new
        if new:
            heard(len(replies))
    return replies


def diverged(reply: Message) -> bool:
    """Return whether a client says that its training gave weights that are not finite."""
    return reply.has_error() and reply.error.code == DIVERGED


def _pause(stopped: Event) -> None:
    if stopped.wait(POLL):
        raise StoppedError


def _reason(replies: Sequence[Message]) -> str:
    """Return why the first client that failed did so, in its own words."""
    errors = [reply.error.reason for reply in replies if reply.has_error()]
    return f"the first error: {errors[0]}" if errors else "they did not answer in time; raise [federation] timeout"
