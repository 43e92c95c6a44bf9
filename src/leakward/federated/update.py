"""``Update``: exactly what crosses the wire. The one place that fixes sign and naming."""

from dataclasses import dataclass, field

from leakward.federated.recipe import Share
from leakward.types import Tensors


@dataclass(frozen=True, eq=False)
class Update:
    """One client's message of one round.

    Attributes:
        tensors: By parameter name, always with the sign of a gradient: the gradient itself, or the weights before minus
            the weights after local training.
        buffers: The buffers after local training by name, where the recipe shares them (train mode); else empty.
        images: Number of images behind the message, which FedAvg's weighting makes public.
        share: What ``tensors`` are.
    """

    tensors: Tensors
    images: int
    share: Share
    buffers: Tensors = field(default_factory=dict)
