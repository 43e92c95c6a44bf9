"""The first layer gives its input away: Phong et al. 2018 (IEEE TIFS 13:1333), section III.

If the network begins with a linear layer with bias, then for one image and any unit i with dL/db_i != 0

    dL/dW_i = dL/db_i x     so     x = dL/dW_i / dL/db_i,

exactly and without any search. A batch gives a mixture of its images.

| symbol | here |
|---|---|
| dL/dW, dL/db | the message's tensors of the first linear layer |
| i | the unit with the largest |dL/db_i|, the best conditioned |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from leakward.attacks.attack import Attack
from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.reading.readable import readable
from leakward.attacks.reading.sequence import first_linear
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.replay import labels_known
from leakward.attacks.solvers import Progress, Status
from leakward.federated import Share
from leakward.threat import Observation


@dataclass(frozen=True)
class AnalyticLinear(Attack):
    """Divide a row of the first layer's gradient by its bias gradient."""

    paper: ClassVar[str] = "Phong et al. 2018, doi:10.1109/TIFS.2017.2787987"
    shares: ClassVar[tuple[Share, ...]] = ("gradient",)
    cost: ClassVar[str] = "one division"

    def applies(self, observation: Observation) -> bool:
        """Return whether one image's gradient of a network that begins with a linear layer with bias was seen."""
        one = observation.update.images == 1
        return one and first_linear(observation.task) is not None and labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images exactly where a unit of the first layer saw a gradient."""
        del rng
        found = [_recover(observation) for observation in observations]
        progress(1.0)
        return found


def _recover(observation: Observation) -> Reconstruction:
    name, sent = first_linear(observation.task), readable(observation)
    weight, bias = (sent[f"{name}.{part}"].double() for part in ("weight", "bias"))
    unit = bias.abs().argmax()
    images = observation.task.denormalize((weight[unit] / bias[unit]).view(observation.shape))
    residual = (weight - bias[:, None] * (weight[unit] / bias[unit])).norm() / weight.norm().clamp_min(1e-30)
    if not (torch.isfinite(images).all() and torch.isfinite(residual)):
        return Reconstruction(None, None, float("inf"), Status.NON_FINITE)
    labels = infer_labels(observation) if observation.labels is None else observation.labels
    return Reconstruction(images.clamp(0, 1).float(), labels, float(residual), Status.OK)
