"""The card of a prior: where its images come from, how it was trained, and how good it is."""

from dataclasses import dataclass

from leakward.fields import check, positive, whole
from leakward.generators.generator import Shape


@dataclass(frozen=True)
class PriorSettings:
    """How a prior is trained.

    Attributes:
        iterations: Steps, at least 1.
        batch_images: Images of a step, at least 1.
        learning_rate: Highest of a cycle (Smith and Topin 2019, arXiv:1708.07120), positive.
        latent: Numbers of a latent code, at least 1.
        channels: Of the largest feature map, at least 1.
    """

    iterations: int = 1500
    batch_images: int = 32
    learning_rate: float = 3e-3
    latent: int = 64
    channels: int = 16

    def __post_init__(self) -> None:
        counts = (whole(name, getattr(self, name)) for name in ("iterations", "batch_images", "latent", "channels"))
        check(self, *counts, positive("learning_rate", self.learning_rate))


@dataclass(frozen=True)
class Source:
    """Where the images of a prior come from.

    Attributes:
        data: Name of the data set.
        split: The part of it, which is disjoint from the images that an audit attacks.
        licence: Of the data.
        seed: Of the training.
    """

    data: str = "public images"
    split: str = ""
    licence: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Quality:
    """What a prior can show, measured on images it was not trained on.

    Attributes:
        held_out_psnr: Of held-out images from their own codes, in dB.
        mean_image_psnr: Of the mean training image in their place, in dB: the prior must be above it.
        spread: Standard deviation of its samples over that of the images; 1 is as varied.
    """

    held_out_psnr: float
    mean_image_psnr: float
    spread: float


@dataclass(frozen=True)
class Card:
    """What a prior is made of.

    Attributes:
        leakward: Version that trained it.
        source: Of the images.
        images: Their number.
        shape: (c h w) of them.
        settings: Of the training.
        quality: Measured after it.
    """

    leakward: str
    source: Source
    images: int
    shape: Shape
    settings: PriorSettings
    quality: Quality
