"""``Reply``: all that a client is about to send, beside what it was sent."""

from dataclasses import dataclass

from leakward.federated.recipe import LocalTraining
from leakward.types import Tensors


@dataclass(frozen=True, eq=False)
class Reply:
    """A client's message of one round, with what an engine knows when it filters it.

    Attributes:
        before: Parameters and buffers that the server sent, by name.
        message: Of the trained parameters, with the sign of a gradient.
        buffers: The rest of the state after local training; of an observed message only what was sent.
        images: That one client trained on.
        recipe: By which it did.
    """

    before: Tensors
    message: Tensors
    buffers: Tensors
    images: int
    recipe: LocalTraining

    @property
    def rate(self) -> float:
        """Return how far the weights move per unit of the message: a shared gradient is one step of the recipe."""
        return self.recipe.learning_rate if self.recipe.share == "gradient" else 1.0

    @property
    def steps(self) -> int:
        """Return how many local steps the client took."""
        return len(self.recipe.step_sizes(self.images))

    @property
    def after(self) -> Tensors:
        """Return the client's weights and buffers after local training, in the order of ``before``."""
        moved = {name: self.before[name] - self.rate * value for name, value in self.message.items()}
        return {name: (moved | self.buffers).get(name, value) for name, value in self.before.items()}
