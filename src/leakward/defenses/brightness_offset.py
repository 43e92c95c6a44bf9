"""One offset on all pixels, the control of the shadow defence: the same mean, and no pattern.

    x' = x + p max|x|

| symbol | field |
|---|---|
| p | ``relative_offset`` |

in the network's input range. An attacker who knows of it adds the same to its candidate, and hence recovers x.

The default is about the mean of what ``shadow-defense`` adds in its first round to colour images: its values are s
e^((v - 255) / 20) for v spread evenly over [0, 255], whose mean is s 20 / 255 with s = 0.19.
"""

from dataclasses import dataclass, replace

from leakward.federated import Defense, Step
from leakward.fields import check, finite
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class BrightnessOffset(Defense):
    """Brighten every image by a share of its largest magnitude.

    Attributes:
        relative_offset: That share; negative darkens.
    """

    relative_offset: float = 0.0149

    def __post_init__(self) -> None:
        check(self, finite("relative_offset", self.relative_offset))

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Add the offset."""
        del parameters, tape
        inputs = task.normalize(step.images)
        peak = inputs.detach().abs().flatten(1).amax(1)[:, None, None, None]
        return replace(step, images=task.denormalize(inputs + self.relative_offset * peak))
