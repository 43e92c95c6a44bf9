"""Accuracy and macro F1 against a hand count."""

import pytest
import torch

from leakward.metrics import auc_macro, class_recovered, class_scores, label_recovered


def test_accuracy_and_f1_by_hand() -> None:
    """Class 0: F1 2/3; class 1: 1/2; class 2: 0 (predicted once, never true); class 3 never occurs."""
    scores = class_scores(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1]), classes=4)
    assert scores.accuracy == pytest.approx(0.5)
    assert scores.f1_macro == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_recovered_class_and_label() -> None:
    labels = torch.tensor([0, 1, 1])
    assert class_recovered(torch.zeros(3, 1, 2, 2), labels, lambda images: torch.ones(len(images)).long()).tolist() == [
        0,
        1,
        1,
    ]
    assert label_recovered(labels, torch.tensor([0, 0, 1])).tolist() == [1, 0, 1]


def test_auc_by_hand() -> None:
    """Class 0: 3 of 4 pairs in order; class 1: 3 of 4; class 2 never occurs."""
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    assert auc_macro(probabilities, torch.tensor([0, 0, 1, 1])) == pytest.approx(3 / 4)
    assert auc_macro(probabilities, torch.tensor([1, 1, 1, 1])) == 0.5, "nothing to tell apart"
