"""Rank and identification in a gallery."""

import torch
from torch import Tensor

from leakward.metrics import identified, moments, rank, ssim
from leakward.types import generator


def test_a_copy_ranks_first(gallery: Tensor) -> None:
    ranks = rank(gallery[3:5], moments(gallery), torch.tensor([3, 4]))
    assert ranks.tolist() == [1, 1]
    assert identified(ranks).tolist() == [1, 1]


def test_the_rank_counts_images_that_are_nearer(gallery: Tensor) -> None:
    guess = torch.rand(1, 3, 16, 14, generator=generator(5))
    similarity = ssim(gallery, guess.expand_as(gallery))
    for place, index in enumerate(similarity.argsort(descending=True).tolist(), start=1):
        assert rank(guess, moments(gallery), torch.tensor([index])).item() == place


def test_a_tie_counts_against_the_attacker(gallery: Tensor) -> None:
    twice = moments(torch.cat([gallery, gallery[:1]]))
    ranks = rank(gallery[:1], twice, torch.tensor([0]))
    assert ranks.tolist() == [2]
    assert identified(ranks).tolist() == [0]


def test_a_constant_gallery_identifies_nothing() -> None:
    same = moments(torch.full((5, 1, 12, 12), 0.5))
    assert rank(torch.rand(2, 1, 12, 12, generator=generator(0)), same, torch.tensor([0, 3])).tolist() == [5, 5]
