"""Where the shadow defence puts its noise, and how much: Jiang, Ma and Yang 2025 (arXiv:2506.15711).

    e = (G(z) - x)^2                                     in the network's input range
    m = 1 / softmax(e / T)                               large where the shadow reconstructs well
    n = softmax(equalise(m) / T)                         over channels and pixels of each image
    n' = n - a sign(n) softmax(c / T)   as published,    n' = n (1 - a c)   as intended
    x' = x + | max x / max n' * s * exp(r / R) | n',     a = min(0.5, max(0.1, r / R))

c is the class-activation map with all but its top pixels set to 0, r the round out of R, s the strength. As published
softmax(c / T) is all but constant, e^(1/20) = 1.05 at most between pixels, and n' can turn negative: an image is then
dimmed evenly. As published the equalised map is also laid out wrongly (``scrambled``).
"""

from jaxtyping import Float
from torch import Tensor

from leakward.defenses.shadow.equalisation import equalise, luminance, stretch

TEMPERATURE = 20.0
LEAST, MOST = 0.1, 0.5
"""Of a, which grows with the rounds between them."""

Maps = Float[Tensor, "b c h w"]


def leak_map(residual: Maps, *, own_bin: bool, in_place: bool) -> Maps:
    """Return n, which sums to 1 over each image and is large where the shadow's error is small.

    Args:
        residual: G(z) - x of a whole batch.
        own_bin: See ``equalise``.
        in_place: Whether the map keeps its layout, or is scrambled as published.
    """
    found = stretch(1 / _softmax(residual.square()))
    grey = equalise(luminance(found), own_bin=own_bin)
    channels = residual.shape[1]
    spread = grey[:, None].expand_as(residual) if in_place else scrambled(grey, channels)
    return _softmax(spread)


def scrambled(grey: Float[Tensor, "b h w"], channels: int) -> Maps:
    """Write every value once per channel in a row, as (h w c) has it, and read the row as (c h w).

    Channel k then holds the k-th part of the rows, every pixel ``channels`` times.
    """
    row = grey.flatten(1).repeat_interleave(channels, dim=1)
    return row.view(len(grey), channels, *grey.shape[1:])


def protection(progress: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return a for the share r / R of the rounds that are over."""
    return progress.clamp(LEAST, MOST)


def spare(noise: Maps, kept: Float[Tensor, "b h w"], progress: Float[Tensor, " b"], *, relative: bool) -> Maps:
    """Return n': less noise where the task looks.

    Args:
        noise: n.
        kept: c, in [0, 1].
        progress: r / R of every image.
        relative: Whether n is scaled down, or has a map that is all but constant subtracted as published.
    """
    share = _per_image(protection(progress))
    if relative:
        return noise * (1 - share * kept[:, None])
    return noise - share * noise.sign() * _softmax(kept)[:, None]


def perturbation(inputs: Maps, noise: Maps, progress: Float[Tensor, " b"], strength: float) -> Maps:
    """Return x' - x for the noise n'."""
    peak = inputs.flatten(1).amax(1) / noise.flatten(1).amax(1)
    return _per_image((peak * strength * progress.exp()).abs()) * noise


def _softmax(values: Tensor) -> Tensor:
    return (values / TEMPERATURE).flatten(1).softmax(1).view(values.shape)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
