"""GroupNorm in the place of BatchNorm: Wu and He 2018 (arXiv:1803.08494), in federations Hsieh et al. 2020.

    y = gamma (x - mu_g) / sqrt(s_g^2 + eps) + beta

| symbol | field |
|---|---|
| mu_g, s_g^2: mean and variance over the pixels and channels of a group, of one image | ``groups`` |

A client with BatchNorm in train mode sends running statistics, whose change gives the mean and variance of every layer
on its own images away (Hatamizadeh et al. 2023, arXiv:2202.06924; Huang et al. 2021, arXiv:2112.00059). GroupNorm keeps
none. It hides nothing else: gamma, beta and all other gradients are there as before, and images of a batch no longer
mix. The attacker sees the network and replays it.

What differs from the papers: 32 groups are their default too, but a layer they do not divide is refused. Hsieh et al.
(arXiv:1910.00189) train such networks from the start; here the affine part of each layer is taken over from BatchNorm.
"""

from dataclasses import dataclass

import torch
from torch import nn

from leakward.errors import DefenseError, ModelError
from leakward.federated import Defense
from leakward.fields import check, whole
from leakward.models import Task, build_task
from leakward.models.around import around
from leakward.types import Tensors

FACTORY = "leakward.models.groupnorm:group_normalised"


@dataclass(frozen=True)
class GroupNorm(Defense):
    """Replace every BatchNorm layer of the network.

    Attributes:
        groups: Into which the channels of every layer are divided; it has to divide them all.
    """

    groups: int = 32

    def __post_init__(self) -> None:
        check(self, whole("groups", self.groups))

    def install(self, task: Task, state: Tensors, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Replace the layers, and leave running statistics out of the state."""
        del rng
        try:
            made = build_task(around(task.spec, FACTORY, groups=self.groups))
        except ModelError as error:
            raise DefenseError(f"GroupNorm: {error}") from error
        return made, {name: state[name] for name in made.model.state_dict()}

    def on_task(self, task: Task) -> Task:
        """Refuse a network in which BatchNorm was not replaced."""
        if task.has_batchnorm or not any(isinstance(layer, nn.GroupNorm) for layer in task.model.modules()):
            raise DefenseError(
                f"GroupNorm: expected a network with GroupNorm and without BatchNorm, got {task.spec.model!r}; let "
                "install replace it before the first round"
            )
        return task
