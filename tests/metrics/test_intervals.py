"""Intervals, worst cases and exact tests."""

import pytest
import torch

from leakward.errors import LeakwardError
from leakward.metrics import METRICS, p_value_above_chance, summarise, upper_bound
from leakward.types import generator

VALUES = torch.rand(64, generator=generator(0), dtype=torch.float64)


def test_a_summary_holds_mean_worst_and_count() -> None:
    summary = summarise(VALUES, torch.arange(64), METRICS["ssim"])
    assert summary.mean == pytest.approx(VALUES.mean().item())
    assert (summary.worst, summary.count) == (VALUES.max().item(), 64)
    assert summarise(VALUES, torch.arange(64), METRICS["mse"]).worst == VALUES.min().item()


def test_the_interval_is_near_the_normal_one_and_repeats_with_its_seed() -> None:
    summary = summarise(VALUES, torch.arange(64), METRICS["ssim"], seed=3)
    half = 1.96 * VALUES.std().item() / 8
    assert summary.low == pytest.approx(summary.mean - half, abs=0.01)
    assert summary.high == pytest.approx(summary.mean + half, abs=0.01)
    assert summary == summarise(VALUES, torch.arange(64), METRICS["ssim"], seed=3)
    assert summary != summarise(VALUES, torch.arange(64), METRICS["ssim"], seed=4)


def test_images_of_one_update_are_resampled_together() -> None:
    """Eight identical images per group carry the information of one: the interval must not shrink."""
    repeated = summarise(VALUES.repeat_interleave(8), torch.arange(64).repeat_interleave(8), METRICS["ssim"])
    single = summarise(VALUES, torch.arange(64), METRICS["ssim"])
    assert (repeated.low, repeated.high) == (pytest.approx(single.low), pytest.approx(single.high))


def test_groups_of_unequal_size_weigh_by_their_images() -> None:
    groups = torch.tensor([7, 7, 7, 9])
    summary = summarise(torch.tensor([0.0, 0.0, 0.0, 1.0]), groups, METRICS["ssim"])
    assert (summary.mean, summary.low, summary.high) == (0.25, 0, 1)


def test_a_single_group_claims_no_interval() -> None:
    summary = summarise(VALUES[:4], torch.zeros(4).long(), METRICS["ssim"])
    assert (summary.low, summary.high) == (None, None)


def test_nothing_identified_is_not_certainty() -> None:
    """With 0 of 16 independent updates the exact upper end is 1 - 0.025^(1/16)."""
    none = summarise(torch.zeros(64), torch.arange(16).repeat(4), METRICS["identified"])
    assert (none.low, none.high) == (0, pytest.approx(1 - 0.025 ** (1 / 16)))
    all_ = summarise(torch.ones(64), torch.arange(16).repeat(4), METRICS["identified"])
    assert (all_.low, all_.high) == (pytest.approx(0.025 ** (1 / 16)), 1)


@pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0, float("nan")], [0, 1]), ([float("inf")], [0])])
def test_unfit_values_are_refused(values: list[float], groups: list[int]) -> None:
    with pytest.raises(LeakwardError, match="expected finite values"):
        summarise(torch.tensor(values), torch.tensor(groups).long(), METRICS["ssim"])


def test_exact_tests_of_a_rate() -> None:
    assert p_value_above_chance(0, 10, 1 / 256) == 1
    assert p_value_above_chance(2, 2, 1 / 256) == pytest.approx(1 / 256**2)
    assert upper_bound(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert upper_bound(20, 20) == 1
