"""What a client remembers of each of its images: code, noise map, and how often it was used.

Images are told apart by all their pixels. Everything is a tensor with one row per image, in the table of private
helpers.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leakward.types import Tensors

IMAGES, CODES, MAPS, VISITS = "image/pixels", "image/codes", "image/maps", "image/visits"


@dataclass(frozen=True, eq=False)
class Recalled:
    """What is remembered of a batch.

    Attributes:
        known: Whether an image was there before; what follows is 0 if it was not.
        place: Its row.
        codes: Of the shadow.
        maps: Noise, of its last visit.
        visits: So far.
    """

    known: Bool[Tensor, " b"]
    place: Int[Tensor, " b"]
    codes: Float[Tensor, "b d"]
    maps: Float[Tensor, "b c h w"]
    visits: Int[Tensor, " b"]


def blank(shape: tuple[int, int, int], code: int, like: Tensor) -> Tensors:
    """Return a memory without images."""
    pixels = torch.zeros(0, *shape, dtype=like.dtype, device=like.device)
    visits = torch.zeros(0, dtype=torch.long, device=like.device)
    return {IMAGES: pixels, CODES: pixels.new_zeros(0, code), MAPS: pixels, VISITS: visits}


def recall(memory: Tensors, images: Float[Tensor, "b c h w"]) -> Recalled:
    """Look a batch up; of rows that are alike, the latest counts."""
    rows = len(memory[IMAGES])
    if rows == 0:
        none = torch.zeros(len(images), dtype=torch.long, device=images.device)
        codes = images.new_zeros(len(images), memory[CODES].shape[1])
        return Recalled(none.bool(), none, codes, torch.zeros_like(images), none)
    same = torch.stack([(memory[IMAGES] == image).flatten(1).all(1) for image in images])
    place = (same * torch.arange(1, rows + 1, device=images.device)).argmax(1)
    known = same.any(1)
    return Recalled(
        known, place, codes=torch.where(known[:, None], memory[CODES][place], 0.0),
        maps=torch.where(known[:, None, None, None], memory[MAPS][place], 0.0),
        visits=torch.where(known, memory[VISITS][place], 0),
    )  # fmt: skip


def remember(memory: Tensors, recalled: Recalled, images: Tensor, codes: Tensor, maps: Tensor) -> Tensors:
    """Return the memory after another visit of ``images``."""
    visits = recalled.visits + 1
    if certain(recalled.known):
        place = recalled.place
        written = {MAPS: memory[MAPS].index_copy(0, place, maps), VISITS: memory[VISITS].index_copy(0, place, visits)}
        return memory | written
    added = {IMAGES: images, CODES: codes, MAPS: maps, VISITS: visits}
    return memory | {name: torch.cat([memory[name], value]) for name, value in added.items()}


def certain(condition: Bool[Tensor, " b"]) -> bool:
    """Return whether a condition holds for all images, and that can be told: inside ``vmap`` no value can be read.

    It only saves work: whoever asks does the same with a False, at greater length.
    """
    try:
        return bool(condition.all())
    except RuntimeError:
        return False
