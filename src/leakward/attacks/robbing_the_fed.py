"""Robbing the Fed: Fowl, Geiping, Czaja, Goldblum and Goldstein 2022 (arXiv:2110.13057). The server is malicious.

It puts an imprint module in front of the agreed network: one linear layer whose k rows all measure the same h(x), here
the mean brightness, against thresholds c_i at the quantiles of its distribution, and ReLU:

    a_i = max(0, <h, x> - c_i),   c_1 < ... < c_k

All units go on alike, so the loss has one derivative by every unit that an image switches on, and rows differ by the
images between their thresholds. One image alone in a bin is exactly

    x = (dL/dW_i - dL/dW_(i+1)) / (dL/db_i - dL/db_(i+1))

and n images and k equally likely bins leave n (1 - 1/k)^(n - 1) images alone. Two in a bin give a mixture.

| symbol | here |
|---|---|
| k | ``bins`` |
| c_i | quantiles of the brightness of public images; without any, of N(``brightness``, ``spread``^2) |
| W, b | ``imprint.rows``, divided by ``gain``, by which their mean is multiplied before it is added to every pixel |

What differs from the paper: the way on from the units holds no weights, so that it is alike by construction, and the
image passes beside it, so that the agreed network hardly changes. Bins with one image are told from mixtures by
replay (``row_replay``), which also gives the labels. The paper's variant for several local steps, units active in one
bin only, is left out: in single precision, steps small enough to keep every image in its bin are lost in rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.attacks.attack import Attack
from leakward.attacks.reading.rows import Rows, answer, candidates, layer_rows
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.solvers import Progress
from leakward.fields import check, positive, whole
from leakward.models import Task, build_task
from leakward.models.imprint import imprint_layer, planted_name
from leakward.threat import Observation
from leakward.types import Batch, Tensors

FACTORY = "leakward.models.imprint:imprint"
DRAWS = 20_000
"""From which quantiles are taken."""


@dataclass(frozen=True)
class RobbingTheFed(Attack):
    """Sort the images of a batch into bins of brightness, by a layer the server puts in front (malicious server).

    Attributes:
        bins: Rows of the imprint module, at least 1.
        gain: How much more the rows weigh in the gradient than in the output; drowns noise on the message.
        brightness: Mean over images of the mean brightness of an image, where the server holds no public ones.
        spread: Its standard deviation over images, likewise.
    """

    bins: int = 256
    gain: float = 1e12
    brightness: float = 0.5
    spread: float = 0.15

    paper: ClassVar[str] = "Fowl et al. 2022, arXiv:2110.13057"
    active: ClassVar[bool] = True
    cost: ClassVar[str] = "one division per bin"

    def __post_init__(self) -> None:
        check(
            self,
            whole("bins", self.bins),
            positive("gain", self.gain),
            positive("brightness", self.brightness),
            positive("spread", self.spread),
        )

    def plant(self, task: Task, state: Tensors, public: Batch | None, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Return the agreed network behind an imprint module, the agreed weights inside."""
        options = {**task.spec.options, "network": task.spec.model, "bins": self.bins, "gain": self.gain}
        planted = build_task(replace(task.spec, model=FACTORY, options=options))
        weight, bias = self._rows(task, self._thresholds(public, rng))
        like, layer = next(iter(state.values())), imprint_layer(planted.model)
        rows = {f"{layer}.weight": weight.to(like), f"{layer}.bias": bias.to(like)}
        return planted, rows | {planted_name(name, planted.model): value for name, value in state.items()}

    def applies(self, observation: Observation) -> bool:
        """Return whether the client took one step of SGD, or sent a gradient, on a model that ``plant`` made."""
        recipe = observation.recipe
        if observation.task.spec.model != FACTORY or len(recipe.step_sizes(observation.images_per_client)) > 1:
            return False
        return recipe.share == "gradient" or recipe.optimizer == "sgd"

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover every image that is alone in its bin, exactly."""
        del rng
        found = [_recover(observation) for observation in observations]
        progress(1.0)
        return found

    def _thresholds(self, public: Batch | None, rng: torch.Generator) -> Float[Tensor, " k"]:
        """Return quantiles of brightness in [0, 1], in rising order."""
        noise = torch.randn(DRAWS, generator=rng)
        if public is None:
            draws = self.brightness + self.spread * noise
        else:
            seen = public.images.mean((1, 2, 3)).cpu()
            width = 0.9 * seen.std(correction=0) * len(seen) ** -0.2  # Silverman's rule: public images are few
            draws = seen[torch.randint(len(seen), (DRAWS,), generator=rng)] + width * noise
        return draws.quantile((torch.arange(self.bins) + 0.5) / self.bins)

    def _rows(self, task: Task, thresholds: Float[Tensor, " k"]) -> tuple[Float[Tensor, "k n"], Float[Tensor, " k"]]:
        """Return weights and biases that compare the brightness of an image with each threshold."""
        zero, one = (task.denormalize(torch.full(task.spec.input_shape, value)) for value in (0.0, 1.0))
        weight = (one - zero).flatten() / zero.numel()  # undoes the normalisation of the task
        return weight.repeat(self.bins, 1) / self.gain, (zero.mean() - thresholds) / self.gain


def _recover(observation: Observation) -> Reconstruction:
    layer = imprint_layer(observation.task.model)
    rows = layer_rows(observation, layer)
    between = Rows(
        rows.units, rows.weight - _next(rows.weight), rows.bias - _next(rows.bias), rows.lost | _next(rows.lost)
    )
    return answer(observation, candidates(observation, layer, between))


def _next(rows: Tensor) -> Tensor:
    """Return every row's successor, and zero for the last."""
    return torch.cat([rows[1:], torch.zeros_like(rows[:1])])
