"""Gaussian noise on every pixel, the control of the shadow defence: as much noise, anywhere.

    x' = x + p max|x| e / rms(e),   e_i ~ N(0, 1)

| symbol | field |
|---|---|
| p | ``relative_rms`` |

in the network's input range. Drawn anew at every step. An attacker who knows of it recovers x' by the undefended
client: the noise was as much part of the training as the image.

The default is what ``shadow-defense`` adds in its first round: its values are s e^((v - 255) / 20) for v spread evenly
over [0, 255], whose root mean square is s sqrt(10 / 255) with s = 0.19.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from leakward.federated import Defense, NoDefense, Step
from leakward.fields import check, positive
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class RandomPixelNoise(Defense):
    """Add noise of a given size to every image.

    Attributes:
        relative_rms: Root mean square of the noise over the image's largest magnitude.
    """

    relative_rms: float = 0.0376

    def __post_init__(self) -> None:
        check(self, positive("relative_rms", self.relative_rms))

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Add the noise."""
        del parameters
        inputs = task.normalize(step.images)
        noise = tape.normal(tuple(inputs.shape), inputs)
        size = self.relative_rms * _per_image(inputs.abs(), "max") / _per_image(noise.square(), "mean").sqrt()
        return replace(step, images=task.denormalize(inputs + size.detach() * noise))

    def replay(self) -> Defense:
        """Replay the undefended client, which recovers the noisy image."""
        return NoDefense()


def _per_image(values: Tensor, what: str) -> Tensor:
    return (values.flatten(1).amax(1) if what == "max" else values.flatten(1).mean(1))[:, None, None, None]
