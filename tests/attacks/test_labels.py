"""Labels read off the last layer: published rules, known answers, hostile input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from leakward.attacks.reading.labels import counted_labels, distinct_labels, single_label
from leakward.types import generator

CASES = ["relu_unique", "relu_repeated", "relu_pair", "sigmoid_unique", "signed_unique"]


def arrays(reference, *names):
    values = reference("label_recovery")
    return [torch.from_numpy(values[name]) for name in names]


def test_one_image_as_published(reference):
    weights, published, truth = arrays(reference, "single_grad_w", "single_idlg", "single_labels")
    found = torch.cat([single_label(weight) for weight in weights])
    assert found.tolist() == published.long().tolist()
    assert (found == truth).tolist() == [True, True, False, True, True, True]  # sample 2 has signed features


@pytest.mark.parametrize("case", CASES)
def test_distinct_labels_as_published(case, reference):
    weight, published = arrays(reference, f"{case}_grad_w", f"{case}_rowmin_smallest_4")
    assert distinct_labels(weight, 4).tolist() == published.long().tolist()


@pytest.mark.parametrize("case", CASES)
def test_counted_labels_as_published(case, reference):
    bias, published, truth = arrays(reference, f"{case}_grad_b", f"{case}_bias_corrected", f"{case}_labels")
    assert counted_labels(bias, 4).tolist() == published.long().sort().values.tolist()
    if case.endswith("unique"):
        assert counted_labels(bias, 4).tolist() == truth.long().sort().values.tolist()


def last_layer(labels, classes, features=6):
    """Return the gradients of weight and bias of an untrained last layer over non-negative features."""
    rng = generator(0)
    weight, bias = 0.01 * torch.randn(classes, features, generator=rng), torch.zeros(classes)
    r = torch.rand(len(labels), features, generator=rng) + 0.1

    def loss(weight, bias):
        return F.cross_entropy(r @ weight.T + bias, labels)

    return torch.func.grad(loss, argnums=(0, 1))(weight, bias)


@given(st.integers(2, 9).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k - 1))))
def test_one_image_is_exact_with_non_negative_features(case):
    classes, label = case
    weight, bias = last_layer(torch.tensor([label]), classes)
    assert single_label(weight).tolist() == counted_labels(bias, 1).tolist() == [label]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_every_class_that_occurs_is_found_in_an_untrained_last_layer(labels):
    """Their counts are an estimate: the rule knows no probabilities, and takes the share of one image for too small."""
    _, bias = last_layer(torch.tensor(labels), 10)
    found = counted_labels(bias, len(labels)).tolist()
    assert found == sorted(found)
    assert set(found) == set(labels)
    if len(set(labels)) == len(labels):
        assert found == sorted(labels)


@given(st.sets(st.integers(0, 9), min_size=1, max_size=6))
def test_distinct_labels_are_exact_for_an_untrained_last_layer(labels):
    weight, _ = last_layer(torch.tensor(sorted(labels)), 10)
    assert distinct_labels(weight, len(labels)).tolist() == sorted(labels)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, float("nan"), float("-inf")])
@pytest.mark.parametrize("images", [1, 3, 7])
def test_any_message_gives_as_many_labels_as_images(value, images):
    found = counted_labels(torch.full((4,), value), images)
    assert found.shape == (images,)
    assert ((found >= 0) & (found < 4)).all()


def test_more_negative_classes_than_images_keeps_the_most_negative():
    assert counted_labels(torch.tensor([-0.1, -0.5, 0.9, -0.3]), 2).tolist() == [1, 3]


def test_the_message_is_left_alone():
    bias = torch.tensor([-0.5, 0.2, 0.3])
    counted_labels(bias, 2)
    assert bias.tolist() == pytest.approx([-0.5, 0.2, 0.3])
