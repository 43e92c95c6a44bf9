"""Assignment and scoring of one batch."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leakward.errors import LeakwardError
from leakward.metrics import ScoringContext, assign, score
from leakward.types import Batch, generator


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 99))
def test_assignment_undoes_any_order(order: list[int], seed: int) -> None:
    images = torch.rand(6, 1, 5, 5, generator=generator(seed))
    noisy = (images + 0.05 * torch.rand(images.shape, generator=generator(seed + 1))).clamp(0, 1)[order]
    permutation = assign(images, noisy)
    assert torch.tensor(order)[permutation].tolist() == list(range(6))


def test_assignment_is_best_in_total_not_greedy() -> None:
    images, guesses = (torch.tensor(values).reshape(2, 1, 1, 1) for values in ([0.5, 0.0], [0.6, 1.0]))
    assert assign(images, guesses).tolist() == [1, 0]


def test_scores_do_not_depend_on_the_order_of_reconstructions(batch: Batch, context: ScoringContext) -> None:
    guess = (batch.images + 0.1).clamp(0, 1)
    order = torch.tensor([2, 0, 3, 1])
    straight = score(batch.images, batch.labels, guess, batch.labels, context)
    mixed = score(batch.images, batch.labels, guess[order], batch.labels[order], context)
    assert mixed["label_recovered"].tolist() == [1, 1, 1, 1]
    for name, values in straight.items():
        torch.testing.assert_close(mixed[name], values, msg=name)


def test_the_mean_image_gains_nothing(batch: Batch, context: ScoringContext) -> None:
    control = context.mean_image.expand_as(batch.images)
    scores = score(batch.images, batch.labels, control, batch.labels, context)
    assert scores["psnr_gain"].abs().max() == 0
    assert scores["ssim_gain"].abs().max() == 0


def test_without_a_classifier_the_class_is_left_out(batch: Batch, context: ScoringContext) -> None:
    scores = score(batch.images, batch.labels, batch.images, batch.labels, replace(context, classifier=None))
    assert "class_recovered" not in scores


def test_inputs_are_left_unchanged(batch: Batch, context: ScoringContext) -> None:
    images, guess = batch.images.clone(), batch.images.flip(0)
    kept = guess.clone()
    score(batch.images, batch.labels, guess, batch.labels, context)
    assert torch.equal(batch.images, images)
    assert torch.equal(guess, kept)


@pytest.mark.parametrize("index", [[2, 3, 4], [2, 3, 4, 12], [2, 3, 5, 4], [-1, 3, 4, 5]])
def test_a_wrong_place_in_the_gallery_is_refused(index: list[int], batch: Batch, context: ScoringContext) -> None:
    wrong = replace(context, gallery_index=torch.tensor(index))
    with pytest.raises(LeakwardError, match="places of the private images"):
        score(batch.images, batch.labels, batch.images, batch.labels, wrong)


def test_a_diverged_reconstruction_is_refused(batch: Batch, context: ScoringContext) -> None:
    guess = batch.images.clone()
    guess[1, 0, 0, 0] = float("inf")
    with pytest.raises(LeakwardError, match="NaN or infinity"):
        score(batch.images, batch.labels, guess, batch.labels, context)
