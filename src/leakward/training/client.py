"""What a client of a federation does, without any word of Flower: its images, its defence, and its round."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch

from leakward.data import Dataset
from leakward.errors import DataError, DivergedError
from leakward.federated import Defense, LocalTraining, Sample, Update, client_round, draw_sample
from leakward.models import Task
from leakward.streams import stream
from leakward.tape import Tape
from leakward.training import helpers, sites
from leakward.training.settings import DataSettings, Job
from leakward.types import Batch, Tensors


@dataclass(frozen=True, eq=False)
class Trained:
    """What a client has after a round.

    Attributes:
        state: Parameters and buffers to send back.
        images: Number of images behind them; with Poisson sampling the agreed one, not the one drawn.
        private: The defence's helpers, which it keeps.
    """

    state: Tensors
    images: int
    private: Tensors


@dataclass(frozen=True)
class Client:
    """One of the clients of a job.

    Attributes:
        job: That it takes part in.
        number: From 0.
    """

    job: Job
    number: int

    @cached_property
    def data(self) -> Dataset:
        """Return the data set with this client's share as its training split.

        Raises:
            DataError: If the job has no such client.
        """
        whole, settings = _load(self.job.data), self.job.data
        if not 0 <= self.number < settings.clients:
            raise DataError(
                f"client {self.number}: expected a number below [data] clients = {settings.clients}; "
                "start as many clients as the plan has"
            )
        return replace(whole, splits={**whole.splits, "train": sites.shares(whole, settings)[self.number]})

    @cached_property
    def task(self) -> Task:
        """Return the network that is trained."""
        return sites.start(self.data, self.job)[0]

    def prepare(self) -> Defense:
        """Return the defence fitted on this client's images."""
        return sites.prepare(self.job.defense, self.task, self.data, self.job.seed, self.number)

    @cached_property
    def recipe(self) -> LocalTraining:
        """Return what this client does in a round, and on how many images.

        Raises:
            DefenseError: If the defence cannot be applied, or asks for more images than the client holds.
        """
        return self.job.recipe_of(self.number, len(self.data.splits["train"]))

    def batch(self, number: int) -> Batch:
        """Return the images of round ``number`` without Poisson sampling: all, or as many as agreed, drawn afresh."""
        images, labels = self.data.subset("train")
        agreed = self.recipe.batch_images
        if agreed == len(images):
            return Batch(images, labels)
        index = torch.randperm(len(images), generator=self._choice(number))[:agreed]
        return Batch(images[index], labels[index])

    def sample(self, number: int) -> Sample | None:
        """Return the images of round ``number`` by Poisson sampling, if that is what the defence needs."""
        count = len(self.data.splits["train"])
        return draw_sample(self.task, self.recipe, self.job.defense, count, self._choice(number))

    def train(self, state: Tensors, number: int, defense: Defense, private: Tensors | None) -> Trained:
        """Train for round ``number`` from the server's weights.

        Args:
            state: Parameters and buffers that the server sent.
            number: Of the round, from 1.
            defense: As ``prepare`` returned it.
            private: The defence's helpers as the last round left them; None before the first.

        Raises:
            DefenseError: If the defence cannot be applied.
            DivergedError: If the training gives weights that are not finite.
        """
        sample = self.sample(number)
        batch = self.batch(number) if sample is None else Batch(*self.data.subset("train"))
        tape = Tape(stream("round", repr(self.job.defense), self.job.seed, self.number, number))
        done = client_round(self.task, state, batch.images, batch.labels, self.recipe, defense, tape, private, sample)
        require_finite(done.update)
        return Trained(apply_update(state, done.update, self.recipe), done.update.images, done.private)

    def keep(self, number: int, private: Tensors) -> None:
        """Write the defence's helpers after round ``number`` where the job wants them."""
        if self.job.helpers:
            due = min(kept for kept in (*self.job.kept, self.job.federation.rounds) if kept >= number)
            helpers.write(Path(self.job.helpers), due, self.number, private)

    def _choice(self, number: int) -> torch.Generator:
        """Return the randomness that chooses the images of a round, the same for every defence."""
        return stream("batch", self.job.seed, self.number, number)


def apply_update(state: Tensors, update: Update, recipe: LocalTraining) -> Tensors:
    """Return ``state`` after ``update``; a gradient becomes a step of the recipe's learning rate."""
    rate = recipe.learning_rate if update.share == "gradient" else 1.0
    moved = {name: state[name] - rate * value for name, value in update.tensors.items()}
    return {name: value.detach() for name, value in {**state, **update.buffers, **moved}.items()}


def require_finite(update: Update) -> None:
    """Raise ``DivergedError`` if a client would send something that is not finite."""
    broken = [name for name, value in (update.tensors | update.buffers).items() if not torch.isfinite(value).all()]
    if broken:
        raise DivergedError(
            f"client: expected finite tensors after local training, got others in {broken[0]!r}; "
            "lower the noise or the learning rate"
        )


def require_able(job: Job) -> None:
    """Raise ``DefenseError`` if some client of ``job`` holds too few images, or cannot do what the defence asks for."""
    for client, share in enumerate(sites.shares(_load(job.data), job.data)):
        job.recipe_of(client, len(share))


@lru_cache(maxsize=1)
def _load(settings: DataSettings) -> Dataset:
    """Load once per process: the engine lets one process be many clients, in every round."""
    return sites.load(settings)
