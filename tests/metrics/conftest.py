"""Fixtures of the metrics suite: a small site, one batch of it, and the published reference values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from leakward.metrics import ScoringContext, moments
from leakward.types import Batch, generator

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "image_quality.npz"


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """Values that other libraries give for three pairs of images."""
    if not REFERENCE.exists():
        pytest.skip("the reference values are not at hand")
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def pair(reference: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """The three pairs of the reference values, channels first."""
    one, other = (torch.from_numpy(reference[name]).movedim(-1, 1) for name in ("image_a", "image_b"))
    return one, other


@pytest.fixture(scope="session")
def gallery() -> Tensor:
    """Twelve different images of one site."""
    return torch.rand(12, 3, 16, 14, generator=generator(0))


@pytest.fixture(scope="session")
def batch(gallery: Tensor) -> Batch:
    """Four of them, with labels."""
    return Batch(gallery[2:6], torch.tensor([0, 1, 2, 1]))


@pytest.fixture(scope="session")
def context(gallery: Tensor) -> ScoringContext:
    """What the batch is compared with; the classifier reads the label off the nearest site image."""
    site_labels = torch.tensor([3, 3, 0, 1, 2, 1, 3, 3, 3, 3, 3, 3])

    def nearest(images: Tensor) -> Tensor:
        return site_labels[torch.cdist(images.flatten(1), gallery.flatten(1)).argmin(1)]

    return ScoringContext(
        gallery=moments(gallery),
        gallery_index=torch.arange(2, 6),
        mean_image=gallery.mean(0),
        std=(0.2, 0.25, 0.3),
        classifier=nearest,
    )
