"""What Leakward adds to a round of a client of Flower.

    python -m benchmarks.engine_overhead [--quick] [--repeat 5]

The first line of a table is a round at the client without Leakward: from the message that came to the reply, with one
epoch over ``IMAGES`` images. Each other row is what a mod adds to it, in seconds and as a share of that round. All are
medians, those of mods over messages to a client that replies at once; what the first message imports does not count. A
longer round has a smaller share of the same seconds. The recorder takes the images over, writes capture and private
batch, and enters the ledger; there is no gate, whose time is that of its attack. The last line is what the import adds
to the start of a process, of which a SuperNode starts one for each message.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import tomli_w
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, Metadata, MetricRecord, RecordDict
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from leakward.integrations.flower import defense_mod, hand_over, site_mod
from leakward.integrations.flower.messages import Call, Mod
from leakward.models import TaskSpec, build_task, initial_state
from leakward.types import Batch, Tensors, generator

IMAGES, MINIBATCH, SIDE, ROUNDS = 256, 16, 28, 3
SPECS = {
    "cnn6": TaskSpec("cnn6", (3, SIDE, SIDE), 8),
    "resnet18": TaskSpec("resnet18", (3, SIDE, SIDE), 8),
}
DEFENSES = ("gaussian-noise", "laplacian-noise", "clipping", "pruning", "sign", "quantise", "top-k", "local-dp")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only show that it runs: the small state, two rows")
    parser.add_argument("--repeat", type=int, default=5, help="messages per row, after one that is not counted")
    given = parser.parse_args()
    console = Console()
    names, defenses = (["cnn6"], DEFENSES[:1]) if given.quick else ([*SPECS], DEFENSES)
    for name in names:
        console.print(measured(SPECS[name], defenses, given.repeat))
    console.print(f"import: {started('leakward.integrations.flower') - started('torch, flwr.clientapp'):.1f} s more")
    console.print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")


def measured(spec: TaskSpec, defenses: Sequence[str], repeat: int) -> Table:
    """Return the table of one state."""
    client = Client(spec)
    size = sum(value.nbytes for value in client.state.values()) / 2**20
    table = Table(f"{spec.model}, {size:.1f} MiB", "seconds", "of the round")
    alone = Context(1, 1, {}, RecordDict(), {})
    whole = statistics.median([timed(client.train, client.message(), alone) for _ in range(ROUNDS + 1)][1:])
    table.add_row("round without Leakward", f"{whole:.3f}", "100%")
    bare = middle(client, None, {}, repeat)
    with tempfile.TemporaryDirectory() as folder:
        for name, mod, config in rows(spec, defenses, Path(folder)):
            added = middle(client, mod, config, repeat) - bare
            table.add_row(name, f"{added:+.3f}", f"{added / whole:.1%}")
    return table


def rows(spec: TaskSpec, defenses: Sequence[str], folder: Path) -> list[tuple[str, Mod, dict[str, str]]]:
    """Return name, mod and configuration of each row."""
    site = folder / "site.toml"
    recipe = {"share": "update", "minibatch": MINIBATCH, "batch_images": IMAGES}
    task = {"model": spec.model, "input_shape": [*spec.input_shape], "num_classes": spec.num_classes}
    site.write_text(tomli_w.dumps({"site": {"name": "clinic"}, "task": task, "recipe": recipe}), encoding="utf-8")
    found: list[tuple[str, Mod, dict[str, str]]] = [("recorder and ledger", site_mod, {"leakward-site": str(site)})]
    return found + [(name, defense_mod, {"leakward-defense": json.dumps({"name": name})}) for name in defenses]


def middle(client: "Client", mod: Mod | None, config: dict[str, str], repeat: int) -> float:
    """Return seconds from a message to the reply of a client that replies at once."""
    context = Context(1, 1, {**config}, RecordDict(), {})
    call: Call = client.answer
    if mod is not None:
        call = partial(mod, call_next=client.hand_over if mod is site_mod else client.answer)
    return statistics.median([timed(call, client.message(), context) for _ in range(repeat + 1)][1:])


def timed(call: Call, message: Message, context: Context) -> float:
    """Return seconds of one reply."""
    began = time.perf_counter()
    reply = call(message, context)
    taken = time.perf_counter() - began
    if reply.has_error():
        raise SystemExit(reply.error.reason)
    return taken


class Client:
    """An ordinary client, and one that has trained already."""

    def __init__(self, spec: TaskSpec) -> None:
        task = build_task(spec)
        self.model, self.state = task.model.eval(), initial_state(task, generator(0))
        self.after = {name: value + 0.01 for name, value in self.state.items()}
        images = torch.rand(IMAGES, *spec.input_shape, generator=generator(1))
        self.batch = Batch(images, torch.arange(IMAGES) % spec.num_classes)

    def message(self) -> Message:
        """Return a message with weights, as a server sends it."""
        metadata = Metadata(1, "", 1, 1, "", "", time.time(), 3600.0, MessageType.TRAIN)
        content = RecordDict({"arrays": ArrayRecord({**self.state}), "config": ConfigRecord({"server-round": 1})})
        return Message(content, metadata=metadata)

    def train(self, message: Message, context: Context) -> Message:
        """Train for one epoch of SGD."""
        del context
        self.model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        for chosen in torch.arange(IMAGES).split(MINIBATCH):
            optimizer.zero_grad()
            F.cross_entropy(self.model(self.batch.images[chosen]), self.batch.labels[chosen]).backward()
            optimizer.step()
        return reply(message, dict(self.model.state_dict()))

    def answer(self, message: Message, context: Context) -> Message:
        """Reply at once."""
        del context
        return reply(message, self.after)

    def hand_over(self, message: Message, context: Context) -> Message:
        """Reply at once, and leave the images with the site."""
        hand_over(context, self.batch.images, self.batch.labels, self.batch.images, self.batch.labels)
        return reply(message, self.after)


def reply(message: Message, state: Tensors) -> Message:
    """Return the reply with weights."""
    metrics = MetricRecord({"num-examples": IMAGES})
    return Message(RecordDict({"arrays": ArrayRecord({**state}), "metrics": metrics}), reply_to=message)


def started(modules: str) -> float:
    """Return seconds that a new process takes until ``modules`` are imported."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
