"""Training a generator on public images, as the decoder of a variational autoencoder.

    minimise  D/2 log MSE(x, G(z)) + KL( N(mu(x), sigma(x)^2) || N(0, 1) ),   z ~ N(mu(x), sigma(x)^2)

with D numbers per image (Kingma and Welling 2014, arXiv:1312.6114). The logarithm is what remains of the likelihood
when the decoder's variance is the best one for the batch (Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202,
section 4), so that nothing weighs sharpness against the prior by hand. It needs no second network to play against, and
minutes on two cores.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from leakward.errors import DataError, ModelError
from leakward.generators.card import Card, PriorSettings, Quality, Source
from leakward.generators.generator import ACTIVATION, Generator, levels, start
from leakward.generators.prior import Prior
from leakward.pace import paced
from leakward.types import Tensors

SAMPLES = 256
"""Drawn to measure how varied they are."""
SHARPEST = 1e-5
"""Squared error below which sharper images are not asked for: 50 dB."""


def train_prior(
    images: Float[Tensor, "n c h w"],
    settings: PriorSettings,
    rng: torch.Generator,
    progress: Callable[[float], None] = lambda _: None,
    source: Source | None = None,
) -> Prior:
    """Train a generator.

    Args:
        images: Public ones, in [0, 1], at least 2; every tenth is held out to measure the quality.
        settings: Of network and training.
        rng: Of weights, order and codes; equal seeds train equal generators.
        progress: Called with the fraction done.
        source: Where the images come from, for the card.

    Raises:
        DataError: If there are too few images.
        ModelError: If the training diverges.
    """
    if len(images) < 2:
        raise DataError(f"prior: expected at least 2 public images, got {len(images)}; give more")
    channels, height, width = images.shape[1:]
    generator = Generator((channels, height, width), settings.latent, settings.channels)
    encoder = _encoder(generator)
    images = images.cpu()[torch.randperm(len(images), generator=rng)]
    held_out, known = images.split([tenth := max(1, len(images) // 10), len(images) - tenth])
    weights = _fit(generator, encoder, known, settings, rng, progress)
    state = {name: value.detach() for name, value in weights[0].items()}
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise ModelError(
            f"prior: expected training to converge, but it did not at learning_rate={settings.learning_rate}"
        )
    mean, _ = functional_call(encoder, weights[1], (held_out,), strict=True).detach().chunk(2, dim=1)
    samples = generator.forward(state, torch.randn(SAMPLES, settings.latent, generator=rng))
    quality = Quality(
        held_out_psnr=_psnr(generator.forward(state, mean), held_out),
        mean_image_psnr=_psnr(known.mean(0).expand_as(held_out), held_out),
        spread=_spread(samples) / max(_spread(known), 1e-6),
    )
    card = Card(version("leakward"), source or Source(), len(images), generator.shape, settings, quality)
    return Prior(generator, state, card)


def _fit(
    generator: Generator,
    encoder: nn.Module,
    images: Tensor,
    settings: PriorSettings,
    rng: torch.Generator,
    progress: Callable[[float], None],
) -> tuple[Tensors, Tensors]:
    """Return the weights of generator and encoder."""
    weights = generator.start(rng), start(encoder, rng)
    trained = [value.requires_grad_() for part in weights for value in part.values()]
    optimizer: Any = torch.optim.Adam(trained, lr=settings.learning_rate)
    rate: Any = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.iterations + 1)
    for iteration in paced(range(settings.iterations)):
        batch = images[torch.randint(len(images), (settings.batch_images,), generator=rng)]
        optimizer.zero_grad()
        _loss(generator, encoder, weights, batch, rng).backward()
        optimizer.step()
        rate.step()
        progress((iteration + 1) / settings.iterations)
    return weights


def _loss(
    generator: Generator, encoder: nn.Module, weights: tuple[Tensors, Tensors], images: Tensor, rng: torch.Generator
) -> Tensor:
    mean, log_variance = functional_call(encoder, weights[1], (images,), strict=True).chunk(2, dim=1)
    codes = mean + torch.randn(mean.shape, generator=rng) * (0.5 * log_variance).exp()
    error = (generator.forward(weights[0], codes) - images).square().mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return 0.5 * (error + SHARPEST).log() + divergence / images[0].numel()


def _encoder(generator: Generator) -> nn.Module:
    """Build MONAI's ``Regressor``, the generator the other way round: images to mean and logarithm of variance."""
    from monai.networks.nets.regressor import Regressor

    doublings, width = levels(generator.shape), generator.channels
    channels = (width, *[2 * width] * doublings)
    with torch.device("meta"):
        return Regressor(
            generator.shape,
            (2 * generator.latent,),
            channels,
            (*[2] * doublings, 1),
            num_res_units=1,
            act=ACTIVATION,
            norm=None,
        )


def _psnr(found: Tensor, images: Tensor) -> float:
    errors = (found - images).square().mean((1, 2, 3)).clamp_min(1e-10)
    return float(-10 * errors.log10().mean())


def _spread(images: Tensor) -> float:
    return float(images.std(0, correction=0).mean())
