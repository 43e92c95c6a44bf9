"""``LocalTraining``: what a client does in one round, agreed by all and known to the server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from leakward.fields import check, not_negative, one_of, positive, whole
from leakward.models import Mode
from leakward.tape import Tape

Share = Literal["gradient", "update"]
Optimizer = Literal["sgd", "adam"]
EPOCHS = 10_000
"""More passes than any client makes in a round; a recipe that came from elsewhere has no more either."""


@dataclass(frozen=True)
class LocalTraining:
    """The recipe of one round.

    Attributes:
        share: ``gradient`` sends one gradient of the whole batch (FedSGD); ``update`` trains locally and sends
            the change of the weights (FedAvg).
        batch_images: Images a client holds for the round, at least 1.
        epochs: Local passes over the batch, at most ``EPOCHS``; only with ``update``.
        minibatch: Images per local step; 0 means all of them.
        shuffle: Whether every epoch takes the images in an order of its own, drawn from the client's tape, as real
            clients do; otherwise all take them in the order of the batch. Only with ``update``.
        optimizer: Local optimiser; only with ``update``.
        learning_rate: Of the local optimiser.
        momentum: Of SGD, in [0, 1).
        weight_decay: L2 penalty added to the gradient, at least 0.
        mode: ``train`` uses batch statistics in BatchNorm and sends its new running statistics.
    """

    share: Share = "gradient"
    batch_images: int = 1
    epochs: int = 1
    minibatch: int = 0
    shuffle: bool = False
    optimizer: Optimizer = "sgd"
    learning_rate: float = 1e-2
    momentum: float = 0.0
    weight_decay: float = 0.0
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        check(
            self,
            one_of("share", self.share, get_args(Share)),
            one_of("optimizer", self.optimizer, get_args(Optimizer)),
            one_of("mode", self.mode, get_args(Mode)),
            whole("batch_images", self.batch_images),
            whole("epochs", self.epochs, most=EPOCHS),
            whole("minibatch", self.minibatch, 0),
            positive("learning_rate", self.learning_rate),
            ("momentum", self.momentum, "a number in [0, 1)", 0 <= self.momentum < 1),
            not_negative("weight_decay", self.weight_decay),
        )

    def minibatches(self, images: Tensor, labels: Tensor, tape: Tape) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images (m c h w) and labels of every local step; ``tape`` has the order of a shuffled epoch."""
        size = self.minibatch or len(images)
        for _ in range(self.epochs):
            taken, named = images, labels
            if self.shuffle:
                order = tape.uniform((len(images),), images).argsort()
                taken, named = images[order], labels[order]
            yield from zip(taken.split(size), named.split(size), strict=True)

    def step_sizes(self, images: int) -> tuple[int, ...]:
        """Return how many of a client's ``images`` each of its local steps sees; one gradient is one step."""
        if self.share == "gradient":
            return (images,)
        size = self.minibatch or images
        return tuple(min(size, images - start) for start in range(0, images, size)) * self.epochs

    def step_weights(self, images: int) -> tuple[float, ...]:
        """Return by how much the gradient of each local step enters the message, if the optimiser is SGD.

        With learning rate a and momentum m, step t (from 0) of T has ``a (1 - m^(T - t)) / (1 - m)``; weight decay is
        left out. One gradient enters as it is.
        """
        if self.share == "gradient":
            return (1.0,)
        steps, kept = len(self.step_sizes(images)), self.momentum
        return tuple(self.learning_rate * (1 - kept ** (steps - t)) / (1 - kept) for t in range(steps))
