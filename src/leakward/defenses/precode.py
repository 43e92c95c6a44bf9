"""PRECODE: Scheliga, Maeder and Seeland 2022 (arXiv:2108.04725).

A variational bottleneck before the last linear layer, and the divergence of its code in the loss:

    mu, rho = W_e h + b_e,   z = mu + softplus(rho) e,   e ~ N(0, I),   h' = W_d z + b_d
    L = CE + beta KL(N(mu, softplus(rho)^2) | N(0, I))

| symbol | field |
|---|---|
| entries of mu, rho, z, e | ``size`` |
| beta | ``coefficient`` |
| h | what the last linear layer was given, and h' what it is given now |

The bottleneck is part of the network: all sites train it, and its gradient is sent. Only e is the client's own. An
attacker who takes the mean of the code and matches the layers before it alone gets round it (``sampling``). That was
measured against other choices: docs/defences/precode.md.

What differs from the authors' code: accuracy is that of the mean of the code, not of one draw.
"""

from dataclasses import dataclass

import torch

from leakward.defenses import sampling
from leakward.errors import DefenseError, ModelError
from leakward.federated import Evidence, LocalTraining
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check, not_negative, whole
from leakward.models import Task
from leakward.types import Tensors

FACTORY = "leakward.models.bottleneck:dense"


@dataclass(frozen=True)
class PRECODE(sampling.SampledCode):
    """Put a variational bottleneck before the last linear layer.

    Attributes:
        size: Entries of the code, at least 1.
        coefficient: Weight of the divergence of the code from N(0, I), at least 0.
    """

    size: int = 256
    coefficient: float = 1e-3

    def __post_init__(self) -> None:
        check(self, whole("size", self.size), not_negative("coefficient", self.coefficient))

    def install(self, task: Task, state: Tensors, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Put the bottleneck in."""
        try:
            place = task.classifier[0].removesuffix(".weight")
        except ModelError as error:
            raise DefenseError(f"PRECODE: {error}") from error
        return sampling.put_in(task, state, FACTORY, {"place": place, "size": self.size}, rng)

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust the layers before the bottleneck."""
        del images, recipe
        return sampling.trust_before_code(message)
