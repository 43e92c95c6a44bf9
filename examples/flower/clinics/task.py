"""The network, and what the clinics hold: blood smears drawn by a program, so that there is nothing to download."""

import torch
from torch import nn
from torch.nn import functional as F

from leakward.data import load_data
from leakward.models import TaskSpec, build_task
from leakward.types import Batch

SIZE, CLASSES, IMAGES = 16, 8, 400


def make_network() -> nn.Module:
    """Return the network that the file of each site names."""
    return build_task(TaskSpec("cnn6", (3, SIZE, SIZE), CLASSES, {"width": 4})).model


def images_of(part: int, parts: int) -> Batch:
    """Return what clinic number ``part`` of ``parts`` holds."""
    images, labels = load_data("phantom", size=SIZE, count=IMAGES).subset("train")
    return Batch(images[part::parts], labels[part::parts])


def choose(held: Batch, number: int, count: int) -> tuple[Batch, Batch]:
    """Return the ``count`` images of round ``number``, and the others."""
    order = torch.arange(len(held)).roll(-number * count)
    chosen, rest = order[:count], order[count:]
    return Batch(held.images[chosen], held.labels[chosen]), Batch(held.images[rest], held.labels[rest])


def train(network: nn.Module, batch: Batch, learning_rate: float) -> None:
    """Take one step on ``batch``."""
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    F.cross_entropy(network(batch.images), batch.labels).backward()
    optimizer.step()


def accuracy(network: nn.Module) -> float:
    """Return the share of the test images, which no clinic holds, that ``network`` classifies rightly."""
    images, labels = load_data("phantom", size=SIZE, count=IMAGES).subset("test")
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())
