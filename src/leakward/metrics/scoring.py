"""Scoring: the only place that sees truth and reconstruction together."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics.assignment import assign
from leakward.metrics.checks import checked_pair
from leakward.metrics.classification import Classifier, class_recovered
from leakward.metrics.gain import psnr_gain, ssim_gain
from leakward.metrics.identification import identified, rank
from leakward.metrics.label_recovery import label_recovered
from leakward.metrics.mean_squared_error import mse
from leakward.metrics.normalised import mse_normalised, psnr_normalised
from leakward.metrics.peak_signal_to_noise import psnr
from leakward.metrics.perceptual import lpips
from leakward.metrics.region import by_region
from leakward.metrics.relative_leakage import rdlv
from leakward.metrics.site_neighbours import PLACES, Neighbours, k_iip
from leakward.metrics.structural_similarity import Moments, ssim

Extra = Literal["lpips", "rdlv", "k_iip", "region"]
"""Measures that not every audit takes."""
Scores = dict[str, Float[Tensor, " b"]]
"""One value per private image, in the order of the private images, keyed by the names in ``METRICS``."""


@dataclass(frozen=True, eq=False)
class ScoringContext:
    """What a batch is compared with, besides its reconstructions.

    Attributes:
        gallery: ``moments`` of the site's own images; compute once, share among batches.
        gallery_index: Where each image of the batch stands in the gallery.
        mean_image: Mean of public images, in [0, 1]: the guess that needs no attack.
        std: What the model divides each channel by, for the papers' convention.
        classifier: Reads a class from an image; none leaves ``class_recovered`` out.
        extra: Which measures to add: ``lpips``, which needs the extra of that name, ``rdlv``, ``k_iip`` and ``region``.
        neighbours: For ``k_iip``.
        region: Of each image, 1 inside and 0 outside; for ``region``.
    """

    gallery: Moments
    gallery_index: Int[Tensor, " b"]
    mean_image: Float[Tensor, "c h w"]
    std: tuple[float, ...]
    classifier: Classifier | None = None
    extra: tuple[Extra, ...] = ()
    neighbours: Neighbours | None = None
    region: Float[Tensor, "b h w"] | None = None


def score(
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    recon_images: Float[Tensor, "b c h w"],
    recon_labels: Int[Tensor, " b"],
    context: ScoringContext,
) -> Scores:
    """Return every measure for each image of one batch, after the optimal assignment.

    Args:
        images: The private images, in [0, 1].
        labels: Their true classes.
        recon_images: What the attacker recovered, in [0, 1], in any order; only of attacks that ended ok.
        recon_labels: The attacker's labels, in the order of ``recon_images``.
        context: What the batch is compared with.

    Raises:
        LeakwardError: If shapes differ, a pixel is not a number in [0, 1], ``gallery_index`` does not point to
            ``images``, or LPIPS is asked for and not at hand.
    """
    _check_gallery(images, context)
    order = assign(images, recon_images)
    truth, guess = checked_pair(images, recon_images.to(images.device)[order])
    ranks = rank(guess, context.gallery, context.gallery_index)
    scores = {
        "identified": identified(ranks),
        "rank": ranks,
        "ssim_gain": ssim_gain(truth, guess, context.mean_image.to(truth)),
        "psnr_gain": psnr_gain(truth, guess, context.mean_image.to(truth)),
        "ssim": ssim(truth, guess),
        "psnr": psnr(truth, guess),
        "mse": mse(truth, guess),
        "label_recovered": label_recovered(labels, recon_labels.to(order.device)[order]),
        "mse_normalised": mse_normalised(truth, guess, context.std),
        "psnr_normalised": psnr_normalised(truth, guess, context.std),
    }
    if context.classifier is not None:
        scores["class_recovered"] = class_recovered(guess.to(images.dtype), labels, context.classifier)
    scores |= _extra(truth, guess, context)
    return {name: values.cpu() for name, values in scores.items()}


def _extra(truth: Float[Tensor, "b c h w"], guess: Float[Tensor, "b c h w"], context: ScoringContext) -> Scores:
    """Return the measures that were asked for beyond those of every audit."""
    found: Scores = {}
    if "lpips" in context.extra:
        found["lpips"] = lpips(truth, guess)
    if "rdlv" in context.extra:
        found["rdlv"] = rdlv(truth, guess, context.mean_image.to(truth))
    if "k_iip" in context.extra and context.neighbours is not None:
        shown = guess.to(context.mean_image.dtype)
        found |= {f"k_iip_{k}": k_iip(shown, context.neighbours, k) for k in PLACES}
    if "region" in context.extra and context.region is not None:
        found |= by_region(truth, guess, context.region)
    return found


def _check_gallery(images: Float[Tensor, "b c h w"], context: ScoringContext) -> None:
    """Raise unless ``gallery_index`` points to ``images``: a wrong index would call every leak safe."""
    index = context.gallery_index.to(context.gallery.images.device)
    fits = (
        len(index) == len(images)
        and bool(((index >= 0) & (index < len(context.gallery.images))).all())
        and context.gallery.images.shape[1:] == images.shape[1:]
    )
    if not fits or not torch.allclose(context.gallery.images[index], images.to(context.gallery.images), atol=1e-6):
        raise LeakwardError("gallery_index: expected the places of the private images in the gallery, got others")
