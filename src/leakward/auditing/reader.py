"""``Reader``: the network that was trained without a defence, as a measure of what can be read from an image."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from leakward.auditing.site import Site
from leakward.auditing.tables import Plan
from leakward.metrics import Neighbours
from leakward.models import Task
from leakward.models.activation import class_activation, hooked, top
from leakward.training import sites
from leakward.training.evaluation import logits
from leakward.types import Tensors

REGION = 0.3
"""Share of the pixels that are the region where the network looks."""
IMAGES = 256
"""Images per forward pass."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A trained network.

    Attributes:
        task: Its structure.
        state: Its weights.
        known: Images of all clients and public ones, as it sees them, where they are asked for.
    """

    task: Task
    state: Tensors
    known: Neighbours | None = None

    def classes(self, images: Float[Tensor, "n c h w"]) -> Int[Tensor, " n"]:
        """Return the most likely class of every image, in eval mode."""
        return logits(self.task, self.state, images).argmax(1)

    def features(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return what goes into the last linear layer.

        Raises:
            ModelError: If the network does not end in one.
        """
        layer = self.task.model.get_submodule(self.task.classifier[0].rpartition(".")[0])
        seen: list[Tensor] = []

        def tap(_: nn.Module, given: tuple[Tensor, ...], __: Any) -> None:
            seen.append(given[0].flatten(1))

        with hooked((layer, tap)), torch.no_grad():
            for part in images.split(IMAGES):
                self.task.forward(self.state, part)
        return torch.cat(seen)

    def region(self, images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b h w"]:
        """Return 1 for the pixels at which the network looks most for the class of each image, and 0 for the others.

        Raises:
            ModelError: If the network has no convolutional map.
        """
        weights = F.one_hot(labels, self.task.spec.num_classes).to(images)
        return top(class_activation(self.task, self.state, images, weights), REGION)


def open_reader(plan: Plan, site: Site, state: Tensors) -> Reader:
    """Return the reader with these weights, and what the measures of ``plan`` need of it."""
    reader = Reader(site.task, state)
    if "k_iip" not in plan.audit.measures:
        return reader
    whole = sites.load(plan.data)
    index = torch.cat([*sites.shares(whole, plan.data), whole.splits["val"]])
    own = torch.isin(index, site.data.splits["train"])
    return replace(reader, known=Neighbours(reader.features, reader.features(whole.images[index]), own))
