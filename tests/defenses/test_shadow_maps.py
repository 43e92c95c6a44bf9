"""The maths of the shadow defence: values of the authors' code, and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import vmap

from leakward.defenses.shadow.equalisation import equalise, luminance, running_count, stretch
from leakward.defenses.shadow.memory import MAPS, VISITS, blank, certain, recall, remember
from leakward.defenses.shadow.noise_map import leak_map, perturbation, scrambled, spare
from leakward.defenses.shadow.objective import Message, message, shadow_loss, size, smoothness
from leakward.models.activation import keep_top
from leakward.models.statistics import Layer
from leakward.types import generator


@pytest.fixture(scope="module")
def golden(reference_of_module):
    return {name: torch.from_numpy(np.asarray(value, dtype=float)) for name, value in reference_of_module.items()}


@pytest.fixture(scope="module")
def reference_of_module(reference):
    return reference("shadow_noise_map")


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_equalisation_is_that_of_the_authors(golden):
    found = stretch(golden["inverse"])
    close(found, golden["rescaled_0_255"])
    close(luminance(found), golden["luminance"])
    close(running_count(golden["luminance"]), golden["cdf_0_255"])
    assert torch.equal(equalise(golden["luminance"], own_bin=False), golden["equalised_gray"])
    assert torch.equal(scrambled(golden["equalised_gray"], 3), golden["equalised_as_published"])


@pytest.mark.parametrize("visit", ["", "_second_visit"])
def test_the_noise_map_is_that_of_the_authors(golden, visit):
    residual = golden["residual"] if visit == "" else golden["generated_second_visit"] - golden["inputs"]
    expected = golden["noise_as_published" if visit == "" else "noise_second_visit"]
    close(leak_map(residual, own_bin=False, in_place=False), expected)


@pytest.mark.parametrize("number", [0, 10, 50])
def test_the_perturbation_is_that_of_the_authors(golden, number):
    progress = torch.full((2,), number / 100, dtype=torch.double)
    kept = keep_top(golden["cam"], 0.3)
    assert torch.equal((kept > 0).double(), golden["cam_binary"])
    spared = spare(golden["noise_as_published"], kept, progress, relative=False)
    close(spared, golden[f"round{number}_noise_minus_cam"])
    close(perturbation(golden["inputs"], spared, progress, 0.19), golden[f"round{number}_perturbation"])


def test_the_loss_is_that_of_the_authors(golden):
    generated, inputs = golden["generated"], golden["inputs"]
    close(1e-5 * smoothness(generated), golden["shadow_loss_tv"])
    close(1e2 * size(generated), golden["shadow_loss_norm"])
    found, target = ({str(i): golden[f"shadow_{kind}_{i}"] for i in range(3)} for kind in ("grad", "target_grad"))
    layers = [Layer("first", 0.1), Layer("second", 0.1)]
    zero, terms = torch.zeros((), dtype=torch.double), golden["shadow_bn_terms"]
    seen = {"first": terms[0], "second": terms[1]}
    statistics = [
        {name: value for layer in layers for name, value in zip(layer.statistics, (mean(layer), zero), strict=True)}
        for mean in (lambda layer: seen[layer.name], lambda _: zero)
    ]
    messages = [Message(g, s) for g, s in zip((found, target), statistics, strict=True)]
    close(shadow_loss(layers, generated, inputs, *messages), golden["shadow_loss_total"])
    without = shadow_loss([], generated, inputs, *messages)
    close(without, golden["shadow_loss_total"] - golden["shadow_loss_bn"])


def test_equalised_values_are_spread_evenly():
    grey = stretch(torch.rand(1, 64, 64, generator=generator(0)).sqrt())
    found = equalise(grey, own_bin=True)
    assert float(found.mean()) == pytest.approx(127.5, abs=6)
    assert torch.equal(found.flatten()[grey.flatten().argsort()].diff() >= 0, torch.ones(4095, dtype=torch.bool))
    assert float(found.max()) == 255


def test_the_two_look_ups_differ_by_one_bin_at_most():
    grey = torch.tensor([0.0, 0.9, 0.999, 128.2, 254.99, 255.0])[None, None]
    bins = (grey * 256 / 255).floor().clamp(max=255)
    assert (bins - grey.floor()).tolist() == [[[0, 0, 1, 0, 1, 0]]]
    for own_bin, place in ((True, bins), (False, grey.floor())):
        count = running_count(grey)
        assert torch.equal(equalise(grey, own_bin=own_bin), count.floor()[place.long()])


def test_scrambling_puts_thirds_of_the_rows_into_the_channels():
    grey = torch.arange(36.0).view(1, 6, 6)
    found = scrambled(grey, 3)
    assert found.shape == (1, 3, 6, 6)
    for channel in range(3):
        rows = grey[0, 2 * channel : 2 * channel + 2].flatten().repeat_interleave(3)
        assert torch.equal(found[0, channel].flatten(), rows)
    assert torch.equal(scrambled(grey, 1)[:, 0], grey)


def test_an_unscrambled_map_is_largest_where_the_error_is_smallest_and_sums_to_one():
    residual = torch.rand(2, 3, 8, 8, generator=generator(0)) + 0.5
    residual[:, :, 2, 5] = 0.0
    found = leak_map(residual, own_bin=True, in_place=True)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(2))
    assert all(int(image.mean(0).argmax()) == 2 * 8 + 5 for image in found)
    flat = leak_map(torch.zeros(1, 3, 4, 4), own_bin=True, in_place=True)
    torch.testing.assert_close(flat, torch.full((1, 3, 4, 4), 1 / 48))


def test_noise_grows_with_the_rounds_and_is_scaled_by_the_image():
    inputs = torch.rand(3, 3, 4, 4, generator=generator(0))
    noise = torch.rand(3, 3, 4, 4, generator=generator(1))
    progress = torch.tensor([0.0, 0.5, 0.99])
    added = perturbation(inputs, noise, progress, 0.19)
    expected = 0.19 * progress.exp() * inputs.flatten(1).amax(1)
    torch.testing.assert_close(added.flatten(1).amax(1), expected)


def test_protection_as_published_is_all_but_constant_and_as_intended_is_not():
    noise, kept = torch.full((1, 3, 4, 4), 1 / 48), torch.zeros(1, 4, 4)
    kept[0, 0] = 1.0
    published = noise - spare(noise, kept, torch.tensor([0.3]), relative=False)
    assert float(published.max() / published.min()) == pytest.approx(math.exp(1 / 20))
    intended = spare(noise, kept, torch.tensor([0.3]), relative=True) / noise
    torch.testing.assert_close(intended[0, :, 0], torch.full((3, 4), 0.7))
    torch.testing.assert_close(intended[0, :, 1:], torch.ones(3, 3, 4))
    for progress, share in ((0.0, 0.1), (0.2, 0.2), (0.9, 0.5)):
        found = spare(noise, kept, torch.tensor([progress]), relative=True) / noise
        assert float(found.min()) == pytest.approx(1 - share)


def test_statistics_of_the_batch_are_those_that_train_mode_sees(batchnorm):
    for mode in ("train", "eval"):
        found = message(batchnorm.task, batchnorm.state, batchnorm.images, batchnorm.labels, mode).statistics
        values = nn.functional.conv2d(
            batchnorm.images, batchnorm.state["encoder.0.weight"], batchnorm.state["encoder.0.bias"], padding=1
        )
        torch.testing.assert_close(found["encoder.1.running_mean"], values.mean((0, 2, 3)))
        torch.testing.assert_close(found["encoder.1.running_var"], values.var((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_the_shadow_loss_falls_to_its_priors_at_the_truth(lenet):
    own = message(lenet.task, lenet.state, lenet.images, lenet.labels, "eval")
    other = message(lenet.task, lenet.state, lenet.images.flip(0), lenet.labels, "eval")
    images = lenet.images
    at_truth = shadow_loss([], images, images, own, own)
    torch.testing.assert_close(at_truth, 1e-5 * smoothness(images) + 1e2 * size(images))
    assert shadow_loss([], images.flip(0), images, other, own) > at_truth


def test_memory_blends_finds_and_counts(golden):
    images = torch.rand(3, 1, 2, 2, generator=generator(0))
    memory = blank((1, 2, 2), 4, images)
    first = recall(memory, images[:2])
    assert not first.known.any()
    codes = torch.rand(2, 4, generator=generator(1))
    memory = remember(memory, first, images[:2], codes, images[:2])
    seen = recall(memory, images[[1, 2]])
    assert seen.known.tolist() == [True, False]
    assert seen.visits.tolist() == [1, 0]
    assert torch.equal(seen.codes, torch.stack([codes[1], torch.zeros(4)]))
    again = recall(memory, images[[1, 0]])
    memory = remember(memory, again, images[[1, 0]], again.codes, 2 * images[[1, 0]])
    assert torch.equal(memory[MAPS], 2 * images[:2])
    assert memory[VISITS].tolist() == [2, 2]
    memory = remember(memory, recall(memory, images[[1, 2]]), images[[1, 2]], codes, images[[1, 2]])
    assert recall(memory, images).visits.tolist() == [2, 3, 1]


def test_nothing_is_certain_inside_vmap():
    seen = []

    def look(value):
        seen.append(certain(value > 0))
        return value

    vmap(look)(torch.ones(2, 3))
    assert seen == [False]
    assert certain(torch.ones(2) > 0)
    assert not certain(torch.tensor([1.0, -1.0]) > 0)
