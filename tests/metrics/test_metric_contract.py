"""What every measure in the table must satisfy; a new one is tested by being listed."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from leakward import registry
from leakward.metrics import METRICS, Neighbours, Scores, ScoringContext, score
from leakward.types import Batch, generator

EXTRA = {"lpips"}
names = pytest.mark.parametrize("name", sorted(METRICS.keys() - EXTRA))


@pytest.fixture(scope="module")
def context(context: ScoringContext, gallery: Tensor) -> ScoringContext:
    """All measures but LPIPS: features that tell only whether an image is the site's, and a region of either half."""

    def embed(images: Tensor) -> Tensor:
        there = (torch.cdist(images.flatten(1).float(), gallery.flatten(1)) < 1e-3).any(1)
        return torch.stack([there, ~there], dim=1).double()

    others = torch.rand(20, *gallery.shape[1:], generator=generator(5))
    features = embed(torch.cat([gallery, others]))
    region = torch.zeros(4, *gallery.shape[2:])
    region[:2, :8], region[2:, 8:] = 1, 1
    known = Neighbours(embed, features, features[:, 0] == 1)
    return replace(context, extra=("rdlv", "k_iip", "region"), neighbours=known, region=region)


@pytest.fixture(scope="module")
def perfect(batch: Batch, context: ScoringContext) -> Scores:
    return score(batch.images, batch.labels, batch.images, batch.labels, context)


@pytest.fixture(scope="module")
def noise(batch: Batch, context: ScoringContext) -> Scores:
    guess = torch.rand(batch.images.shape, generator=generator(1))
    return score(batch.images, batch.labels, guess, torch.full((4,), 3), context)


def test_the_registry_lists_the_table() -> None:
    assert {name: registry.load("metrics", name) for name in registry.BUILT_IN["metrics"]} == METRICS


def test_score_gives_every_measure_of_the_table(perfect: Scores) -> None:
    assert perfect.keys() == METRICS.keys() - EXTRA


@names
def test_declaration_is_complete(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert metric.low < metric.high
    assert metric.title
    assert metric.description.endswith(".")
    assert metric.binary == ((metric.unit, metric.low, metric.high) == ("yes/no", 0, 1))


@names
def test_one_finite_value_per_image_within_range(name: str, perfect: Scores, noise: Scores) -> None:
    for scores in (perfect, noise):
        values = scores[name]
        assert values.shape == (4,)
        assert values.dtype == torch.float64
        assert torch.isfinite(values).all()
        assert ((values >= METRICS[name].low) & (values <= METRICS[name].high)).all()


@names
def test_a_perfect_copy_leaks_more_than_noise(name: str, perfect: Scores, noise: Scores) -> None:
    sign = 1 if METRICS[name].leaks_more == "higher" else -1
    assert (sign * perfect[name] >= sign * noise[name]).all()
    assert (sign * perfect[name] > sign * noise[name]).any()


@names
def test_worst_is_the_value_that_leaks_most(name: str, perfect: Scores, noise: Scores) -> None:
    both = torch.cat([noise[name], perfect[name]])
    assert METRICS[name].worst(both) == METRICS[name].worst(perfect[name])
