"""Gaussian noise on every pixel, the control of the shadow defence: as much noise, anywhere.

    x' = x + p exp(r / R) max|x| e / rms(e),   e_i ~ N(0, 1)

| symbol | field |
|---|---|
| p | ``relative_rms`` |
| R | ``rounds``; if 0 the noise does not grow |

in the network's input range, with r the rounds that the client has trained before; from R - 1 on it stays. Drawn anew
at every step. An attacker who knows of it recovers x' by the undefended client: the noise was as much part of the
training as the image.

The default is what ``shadow-defense`` adds in its first round: its values are s e^((v - 255) / 20) for v spread evenly
over [0, 255], whose root mean square is s sqrt(10 / 255) with s = 0.19.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from leakward.federated import Defense, NoDefense, Step
from leakward.fields import check, positive, whole
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors

ROUNDS = "rounds"
"""Trained so far."""


@dataclass(frozen=True)
class RandomPixelNoise(Defense):
    """Add noise of a given size to every image.

    Attributes:
        relative_rms: Root mean square of the noise over the image's largest magnitude, in the first round.
        rounds: R, over which the noise grows e-fold, as that of ``shadow-defense`` does; 0 if it does not grow.
    """

    relative_rms: float = 0.0376
    rounds: int = 0

    def __post_init__(self) -> None:
        check(self, positive("relative_rms", self.relative_rms), whole("rounds", self.rounds, 0))

    @property
    def keeps_private(self) -> bool:
        """Return whether it counts its rounds."""
        return self.rounds > 0

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        """Start to count, where the noise grows."""
        del tape
        return {ROUNDS: state[task.parameter_names[0]].new_zeros(())} if self.rounds else {}

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Add the noise."""
        del parameters
        inputs = task.normalize(step.images)
        noise = tape.normal(tuple(inputs.shape), inputs)
        grown = (step.private[ROUNDS].clamp(max=self.rounds - 1) / self.rounds).exp() if self.rounds else 1.0
        size = grown * self.relative_rms * _per_image(inputs.abs(), "max") / _per_image(noise.square(), "mean").sqrt()
        return replace(step, images=task.denormalize(inputs + size.detach() * noise))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Leave the message, and count the round."""
        del tape
        return message, {name: value + 1 for name, value in private.items()}

    def replay(self) -> Defense:
        """Replay the undefended client, which recovers the noisy image."""
        return NoDefense()


def _per_image(values: Tensor, what: str) -> Tensor:
    return (values.flatten(1).amax(1) if what == "max" else values.flatten(1).mean(1))[:, None, None, None]
