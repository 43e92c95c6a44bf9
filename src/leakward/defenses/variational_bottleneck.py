"""CVB, convolutional variational bottleneck: Scheliga, Maeder and Seeland 2023 (arXiv:2309.04515).

    mu, rho = E(h),   z = mu + softplus(rho) e,   e ~ N(0, I),   h' = D(z)
    L = CE + beta KL(N(mu, softplus(rho)^2) | N(0, I))

with convolutions E and D that keep height and width. The paper moves the bottleneck of ``precode`` to an early layer:
only what comes before it has a gradient in which the draws hardly show.

| symbol | field |
|---|---|
| h | output of the layer ``place``; h' takes its place |
| channels of mu, rho, z, e | ``size`` |
| filters of E and D | ``kernel`` |
| beta | ``coefficient`` |

The attacker takes the mean of the code and matches the layers before it (``sampling``). Behind the first layer that is
little, and E helps, whose gradient sums over all positions of the maps, so that draws average out. That was measured
against other choices: docs/defences/variational-bottleneck.md.

What differs from the authors' code: they place the bottleneck by hand, behind the first block of each network; here it
is the first convolution if no layer is named. Accuracy is that of the mean of the code, not of one draw.
"""

from dataclasses import dataclass

import torch
from torch import nn

from leakward.defenses import sampling
from leakward.errors import DefenseError
from leakward.federated import Evidence, LocalTraining
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check, not_negative, whole
from leakward.models import Task
from leakward.types import Tensors

FACTORY = "leakward.models.bottleneck:convolutional"
ENOUGH = 2
"""Layers before the bottleneck that tell more without E."""


@dataclass(frozen=True)
class VariationalBottleneck(sampling.SampledCode):
    """Put a convolutional variational bottleneck behind a layer that returns maps.

    Attributes:
        place: Name of the layer; empty means the first convolution.
        size: Channels of the code; 0 means half as many as the maps have, and at least 8.
        kernel: Height and width of the filters, odd.
        coefficient: Weight of the divergence of the code from N(0, I), at least 0.
    """

    place: str = ""
    size: int = 0
    kernel: int = 5
    coefficient: float = 0.1

    def __post_init__(self) -> None:
        check(
            self,
            whole("size", self.size, 0),
            ("kernel", self.kernel, "an odd number of at least 1", self.kernel > 0 and self.kernel % 2 == 1),
            not_negative("coefficient", self.coefficient),
        )

    def install(self, task: Task, state: Tensors, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Put the bottleneck in."""
        options = {"place": self._place(task), "size": self.size, "kernel": self.kernel}
        return sampling.put_in(task, state, FACTORY, options, rng)

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust the layers before the bottleneck, and E as well where there is but one."""
        del images, recipe
        return sampling.trust_before_code(message, least=ENOUGH)

    def _place(self, task: Task) -> str:
        """Return the name of the layer to put the bottleneck behind."""
        layers = dict(task.model.named_modules())
        place = self.place or next((name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)), "")
        if not place or place not in layers:
            known = ", ".join(name for name in layers if name)
            raise DefenseError(
                f"VariationalBottleneck: expected the name of a layer of {task.spec.model!r} that returns maps, got "
                f"{place!r}; choose among {known}"
            )
        return place
