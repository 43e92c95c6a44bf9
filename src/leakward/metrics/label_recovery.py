"""Whether the attacker read the label off the update."""

from jaxtyping import Float, Int
from torch import Tensor

from leakward.metrics.metric import Metric

LABEL_RECOVERED = Metric(
    name="label_recovered",
    title="Label recovered",
    unit="yes/no",
    low=0.0,
    high=1.0,
    leaks_more="higher",
    description="Whether the attacker's label equals the true one; says nothing where the threat model grants labels.",
)


def label_recovered(labels: Int[Tensor, " b"], recovered: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return 1 where the attacker's label equals the true one, else 0; both in the same order."""
    return (recovered.to(labels.device) == labels).double()
