"""Learnable data perturbation: Jiang, Firouzi and Chakrabarty 2025 (arXiv:2503.16542), eqs. (1) to (3), Algorithm 1.

    z~ = E(x) + n,   n_i ~ N(mu_i, sigma_i^2),   x^ = D(z~),   y^ = P(z~)
    first   D    minimises  L_D = -rho(x, x^)
    then    E, P minimise   L_P = CE(y, y^) + lambda rho(x, x^)    against the D they now face

| symbol | field |
|---|---|
| mu, sigma | ``mean``, ``std``; per latent element in ``fitted_mean``, ``fitted_std`` once learned |
| lambda | ``coefficient`` |
| rho | ``correlation`` (its form in L_P), ``per`` |
| step size of D | ``decoder_learning_rate`` |
| batch, epochs and step size of Algorithm 1 | ``pretrain_batch``, ``pretrain_epochs``, ``pretrain_learning_rate`` |

E and P are shared; D and its optimiser stay with the client. What this hides: D's weights, hence the part of E's
gradient that comes from rho, and the realised noise. What it does not hide: mu and sigma, which are the same for all
rounds, nor CE's part of the gradient, which is all of P's. The attacker who knows of it therefore adds noise of the
same distribution to its candidate's latent map (``PublicNoise``); a mean by itself, however large, hides nothing from
it.

What differs from the paper: its code is not public and it leaves open whether L_P holds rho, |rho| or rho^2, per
image or per batch (all are here; plain rho rewards a negative of the image, which leaks as much), lambda and every
learning rate, and the number of epochs of Algorithm 1. The kernel of D's last layer is corrected (``decoder``). E is
run with the weights before the step for D and L_P alike. Networks with BatchNorm are refused: D and P would not see
the same features.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.data.dataset import Dataset
from leakward.defenses import decoder
from leakward.defenses.correlation import Form, Per, pearson, penalty
from leakward.defenses.equality import same_fields
from leakward.defenses.latent_map import latent_noise, noisy_latent
from leakward.defenses.noise_pretraining import fit_noise
from leakward.errors import DefenseError
from leakward.federated import Defense, Objective, Step
from leakward.fields import check, finite, not_negative, one_of, positive, whole
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors

Noise = Literal["fixed", "learned"]


@dataclass(frozen=True)
class LearnablePerturbation(Defense):
    """Add noise to the latent map, and train the encoder against a decoder of its own.

    Attributes:
        mean: Of the noise; where it is learned, of every element before the first step.
        std: Likewise its standard deviation.
        noise: ``learned`` needs ``prepare`` before the first round.
        coefficient: Weight of the correlation in the loss, at least 0.
        correlation: What the encoder minimises: rho, |rho| or rho^2. The decoder always maximises rho.
        per: Whether rho runs over each image, or over the batch as one vector.
        decoder_learning_rate: Of the decoder's Adam.
        pretrain_epochs: Passes over the site's training images.
        pretrain_batch: Images of a minibatch.
        pretrain_learning_rate: Of Adam, for the network and the noise.
        fitted_mean: Set by ``prepare``.
        fitted_std: Set by ``prepare``.
    """

    mean: float = 1.0
    std: float = 0.1
    noise: Noise = "fixed"
    coefficient: float = 1.0
    correlation: Form = "signed"
    per: Per = "image"
    decoder_learning_rate: float = 1e-3
    pretrain_epochs: int = 10
    pretrain_batch: int = 128
    pretrain_learning_rate: float = 1e-3
    fitted_mean: Float[Tensor, "*latent"] | None = field(default=None, repr=False, compare=False)
    fitted_std: Float[Tensor, "*latent"] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check(
            self,
            finite("mean", self.mean),
            not_negative("std", self.std),
            one_of("noise", self.noise, get_args(Noise)),
            not_negative("coefficient", self.coefficient),
            one_of("correlation", self.correlation, get_args(Form)),
            one_of("per", self.per, get_args(Per)),
            positive("decoder_learning_rate", self.decoder_learning_rate),
            whole("pretrain_epochs", self.pretrain_epochs),
            whole("pretrain_batch", self.pretrain_batch),
            positive("pretrain_learning_rate", self.pretrain_learning_rate),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LearnablePerturbation):
            return NotImplemented
        return same_fields(self, other)

    @property
    def keeps_private(self) -> bool:
        """Return that it keeps the decoder."""
        return True

    @property
    def mixes_images(self) -> bool:
        """Return that every image trains the decoder, which changes the gradients of the others."""
        return True

    @property
    def fits_task(self) -> bool:
        """Return whether the noise is learned."""
        return self.noise == "learned"

    def prepare(self, task: Task, data: Dataset, rng: torch.Generator) -> Defense:
        """Run Algorithm 1 if the noise is learned, and return a copy with the mean and std it found."""
        if self.noise == "fixed":
            return self
        start = latent_noise(task, self.mean, self.std)
        fitted = fit_noise(self, replace(task, latent=start), data, rng,
            epochs=self.pretrain_epochs, batch_images=self.pretrain_batch, learning_rate=self.pretrain_learning_rate,
        )  # fmt: skip
        return replace(self, fitted_mean=fitted.mean, fitted_std=fitted.std)

    def on_task(self, task: Task) -> Task:
        """Put the noise between encoder and predictor."""
        if self.noise == "fixed":
            return replace(task, latent=latent_noise(task, self.mean, self.std))
        if self.fitted_mean is None or self.fitted_std is None:
            raise DefenseError(
                "LearnablePerturbation: expected learned noise, got none; call prepare first, or use noise = 'fixed'"
            )
        return replace(task, latent=latent_noise(task, self.fitted_mean, self.fitted_std))

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        """Draw the decoder."""
        return decoder.start(decoder.for_task(task), tape, state[task.parameter_names[0]])

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Let the decoder take its step, so that its images correlate more with the true ones."""
        del tape
        network, latent = decoder.for_task(task), noisy_latent(task, parameters, step)

        def loss(guess: Tensor) -> Tensor:
            return -pearson(step.images, guess, self.per).mean()

        return replace(step, private=decoder.descend(network, step.private, latent, loss, self.decoder_learning_rate))

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Add the correlation that this decoder reaches to the loss."""

        def defended(parameters: Tensors, step: Step) -> tuple[Tensor, Tensors]:
            loss, buffers = objective(parameters, step)
            guess = decoder.decode(decoder.for_task(task), step.private, noisy_latent(task, parameters, step))
            return loss + self.coefficient * penalty(pearson(step.images, guess, self.per), self.correlation), buffers

        return defended

    def replay(self) -> Defense:
        """Replay the noise; the decoder is not the attacker's to know."""
        return PublicNoise(self)


@dataclass(frozen=True)
class PublicNoise(Defense):
    """What an attacker runs who knows the distribution of the latent noise, and neither its draws nor the decoder.

    Attributes:
        source: The defence whose noise it is.
    """

    source: LearnablePerturbation

    def on_task(self, task: Task) -> Task:
        """Put the noise between encoder and predictor."""
        return self.source.on_task(task)
