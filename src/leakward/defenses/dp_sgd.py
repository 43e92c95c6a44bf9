"""DP-SGD: Abadi et al. 2016, "Deep learning with differential privacy" (arXiv:1607.00133), Algorithm 1.

    g = (1 / b) (sum_i g_i min(1, C / ||g_i||_2) + N(0, s^2 C^2 I))

| symbol | field |
|---|---|
| C | ``max_grad_norm`` |
| s | ``noise_multiplier`` |
| b | images of the step |

The norm of an image's gradient runs over all trained tensors together. Trainings draw the images by Poisson sampling,
and b is the expected number of a step; what that proves over all steps and rounds is derived in ``federated.sampling``
and computed in ``accounting``. The unit is one image. A round that an audit attacks has the images that it is given,
and takes b to be their number.

An attacker who knows of it replays the clipping without noise, and matches the message as it is.

What differs from Opacus: no 1e-6 is added to the norm, so that a gradient shorter than C stays exactly what it is.
"""

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor
from torch.func import vmap

from leakward.defenses.vectors import clip
from leakward.federated import Defense, Guarantee
from leakward.fields import check, not_negative, positive
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class DPSGD(Defense):
    """Clip the gradient of each image and add noise to their sum.

    Attributes:
        max_grad_norm: Largest l2 norm of the gradient of one image.
        noise_multiplier: Standard deviation of the noise as a multiple of ``max_grad_norm``; 0 adds none.
    """

    max_grad_norm: float = 1.0
    noise_multiplier: float = 1.0

    def __post_init__(self) -> None:
        check(
            self,
            positive("max_grad_norm", self.max_grad_norm),
            not_negative("noise_multiplier", self.noise_multiplier),
        )

    @property
    def per_example(self) -> bool:
        """Return that per-image gradients are needed."""
        return True

    @property
    def poisson(self) -> bool:
        """Return that the images of a step are drawn so."""
        return True

    def on_example_gradients(self, gradients: Tensors, images: float, tape: Tape) -> Tensors:
        """Clip each image's gradient, add them up, add noise, and divide by the number that is expected."""
        clipped = vmap(partial(clip, max_norm=self.max_grad_norm))(gradients)
        return {name: self._noisy(value.sum(0), tape) / images for name, value in clipped.items()}

    def guarantee(self, sampling_rate: float, rounds: int, delta: float, steps: int = 1) -> Guarantee | None:
        """Return epsilon for one image; None without noise, or with so little that it proves nothing."""
        from leakward.defenses.accounting import check_exposure, gaussian_guarantee  # imports Opacus

        check_exposure(self, sampling_rate, rounds, delta, steps)
        return gaussian_guarantee(self.noise_multiplier, sampling_rate, rounds * steps, delta)

    def replay(self) -> Defense:
        """Replay the clipping."""
        return replace(self, noise_multiplier=0.0)

    def _noisy(self, total: Tensor, tape: Tape) -> Tensor:
        if self.noise_multiplier == 0:
            return total
        return total + self.noise_multiplier * self.max_grad_norm * tape.normal(tuple(total.shape), total)
