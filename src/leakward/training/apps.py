"""The two apps of Flower: what runs at a client, and what runs at the server.

Both are made from jobs, which are plain values, and hold nothing else; the same apps run on Flower's simulation engine
and on a deployed federation. A client takes its defence from its own copy of the job, never from the server.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event

from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from leakward.errors import DivergedError, LeakwardError
from leakward.streams import stream
from leakward.tape import Tape
from leakward.training import sites
from leakward.training.client import Client
from leakward.training.evaluation import scores
from leakward.training.exchange import DIVERGED, Exchange, enrol
from leakward.training.fitted import recall, remember
from leakward.training.records import pack, state_of, unpack
from leakward.training.results import RoundResult, TrainingResult
from leakward.training.settings import Job
from leakward.training.strategies import make_strategy
from leakward.types import Tensors

FAILED = 2
"""Flower's code for a client that raised an error; it has no public name."""
ASKED = {"job", "server-round"}
"""What a client can be asked for."""

Done = Callable[[int, TrainingResult], None]
"""Called after each job with its place among the jobs."""
Progress = Callable[[int, str, float], None]
"""Called with the place of the job, what is being done, and the fraction of the job that is done, in [0, 1]."""


def client_app(jobs: Sequence[Job]) -> ClientApp:
    """Return the app of a client that takes part in ``jobs``.

    Its number is ``partition-id`` in the configuration of its node, as the simulation engine sets it.
    """
    app = ClientApp()

    @app.query()
    def tell(message: Message, context: Context) -> Message:
        return _answer(message, lambda: RecordDict({"client": MetricRecord({"number": _number(context)})}))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _answer(message, lambda: _train(jobs, message, context))

    del tell, train  # Flower holds them
    return app


def server_app(jobs: Sequence[Job], done: Done, progress: Progress, stopped: Event) -> ServerApp:
    """Return the app of a server that trains ``jobs`` one after the other with the same clients.

    Args:
        jobs: At least one.
        done: Takes what each comes to.
        progress: Called as they go on.
        stopped: Set when nobody waits any longer.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        progress(0, "waiting for the clients", 0.0)
        clients, timeout = max(j.data.clients for j in jobs), max(j.federation.timeout for j in jobs)
        nodes = enrol(grid, clients, timeout, stopped)
        for number, job in enumerate(jobs):
            done(number, _Training(grid, nodes, stopped, progress, number, job).run())

    del main  # Flower holds it
    return app


def _answer(message: Message, make: Callable[[], RecordDict]) -> Message:
    """Return what ``make`` makes as the reply to ``message``, or why it could not."""
    try:
        return Message(make(), reply_to=message)
    except LeakwardError as error:
        code = DIVERGED if isinstance(error, DivergedError) else FAILED
        return Message(Error(code, str(error)), reply_to=message)


def _number(context: Context) -> int:
    if "partition-id" not in context.node_config:
        raise LeakwardError("client: expected 'partition-id' in the node's configuration, got none; set it from 0 on")
    return int(context.node_config["partition-id"])


def _train(jobs: Sequence[Job], message: Message, context: Context) -> RecordDict:
    config = message.content.config_records["config"]
    unknown = sorted(config.keys() - ASKED)
    if unknown:
        raise LeakwardError(
            f"strategy: expected one that leaves local training to the recipe, got demands for {', '.join(unknown)}; "
            "choose another"
        )
    place, number = int(str(config["job"])), int(str(config["server-round"]))
    client = Client(jobs[place], _number(context))
    fitted = recall(context.state, f"{place}/fitted", client.job.defense)
    if fitted is None:
        fitted = client.prepare()
        remember(context.state, f"{place}/fitted", fitted)
    state = state_of(client.task, message.content.array_records["arrays"])
    sent = client.train(state, number, fitted, _kept(context, f"{place}/private"))
    context.state[f"{place}/private"] = ArrayRecord({**sent.private})
    client.keep(number, sent.private)
    return RecordDict({"arrays": pack(sent.state), "metrics": MetricRecord({"num-examples": sent.images})})


def _kept(context: Context, name: str) -> Tensors | None:
    """Return what the client has kept from earlier rounds under ``name``, or None before the first."""
    records = context.state.array_records
    return unpack(records[name]) if name in records else None


class _Training:
    """One job at the server."""

    def __init__(
        self, grid: Grid, nodes: Mapping[int, int], stopped: Event, progress: Progress, number: int, job: Job
    ) -> None:
        data = sites.load(job.data)
        self.job, self.number, self.progress = job, number, progress
        task, self.state = sites.start(data, job)
        defense = Client(job, 0).prepare() if job.defense.fits_task else job.defense
        self.task = defense.on_task(task)
        self.images, self.labels = data.subset("test")
        self.exchange = Exchange(grid, job, nodes, stopped, self._heard)
        self.rounds: list[RoundResult] = []
        self.kept: dict[int, Tensors] = {}

    def run(self) -> TrainingResult:
        federation, start = self.job.federation, time.perf_counter()
        self._heard(0, 1)
        strategy = make_strategy(federation)
        aggregate = strategy.aggregate_train

        def defended(server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
            arrays, metrics = aggregate(server_round, replies)
            return self._defended(arrays, server_round), metrics

        strategy.aggregate_train = defended
        diverged = None
        try:
            strategy.start(
                self.exchange,
                pack(self.state),
                num_rounds=federation.rounds,
                timeout=federation.timeout,
                train_config=ConfigRecord({"job": self.number}),
                evaluate_fn=self._test,
            )
        except DivergedError:
            diverged = len(self.rounds) + 1
        return TrainingResult(tuple(self.rounds), self.state, time.perf_counter() - start, self.kept, diverged)

    def _defended(self, arrays: ArrayRecord | None, number: int) -> ArrayRecord | None:
        """Return the new weights with what the server's part of the defence adds to the change."""
        if arrays is None:
            return None
        before, after = self.state, state_of(self.task, arrays)
        change = {name: before[name] - after[name] for name in self.task.parameter_names}
        tape = Tape(stream("server", repr(self.job.defense), self.job.seed, number))
        defended = self.job.defense.on_aggregate(change, tape)
        if defended is change:
            return arrays
        return pack(after | {name: before[name] - value for name, value in defended.items()})

    def _test(self, number: int, arrays: ArrayRecord) -> None:
        state = state_of(self.task, arrays)
        if number:
            found = scores(self.task, state, self.images, self.labels)
            self.rounds.append(RoundResult(number, found, self.exchange.last))
        self.state = state
        if number in self.job.kept:
            self.kept[number] = self.state

    def _heard(self, came: int, asked: int) -> None:
        """Say where the training is; the words change once a round."""
        past, rounds = len(self.rounds), self.job.federation.rounds
        words = f"round {past + 1} of {rounds}"
        if past:
            words += f", accuracy {self.rounds[-1].scores.accuracy:.3f} so far"
        self.progress(self.number, words, (past + came / asked) / rounds)
