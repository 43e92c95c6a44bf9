"""A message without what its reader knows to say nothing."""

import torch

from leakward.threat import Observation
from leakward.types import Tensors


def readable(seen: Observation) -> Tensors:
    """Return the message, with 0 where an attacker who knows the defence trusts other entries of the tensor, not this.

    A tensor of which nothing is trusted is taken as it came, since nothing can be read off zeros.
    """
    sent = seen.update.tensors
    if seen.threat.knowledge != "aware":
        return sent
    trust = seen.evidence().weight
    return {name: torch.where((trust[name] > 0) | ~trust[name].any(), value, 0.0) for name, value in sent.items()}
