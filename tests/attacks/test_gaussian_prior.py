"""Public images as a prior: its maths, and what it brings."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import LowRankMultivariateNormal
from torch.nn import functional as F

from leakward.attacks import GaussianPrior, InvertingGradients, Reconstruction, Status
from leakward.attacks.searching.matching import entries, unexplained
from leakward.attacks.searching.principal_components import QUANTISED, PrincipalComponents
from leakward.data import load_data
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator


def smooth(count, seed, side=12):
    """Return images with few degrees of freedom, as medical images have."""
    coarse = torch.rand(count, 3, 3, 3, generator=generator(seed))
    return F.interpolate(coarse, side, mode="bicubic", align_corners=True).clamp(0, 1)


def independent(fitted):
    """Return the same Gaussian of the library's making."""
    return LowRankMultivariateNormal(
        fitted.mean.flatten(), fitted.directions.flatten(1).mT, fitted.noise.square().expand(fitted.mean.numel())
    )


def test_no_gaussian_of_the_kind_makes_the_images_likelier():
    images = smooth(80, 0, side=6).double() + 0.05 * torch.randn(80, 3, 6, 6, generator=generator(2)).double()
    fitted = PrincipalComponents.fit(images, 5)
    best = independent(fitted).log_prob(images.flatten(1)).sum()
    rng = generator(3)
    for scale in (1e-3, 1e-2, 1e-1):
        nudged = [value * (1 + scale * torch.randn(value.shape, generator=rng)) for value in vars(fitted).values()]
        assert independent(PrincipalComponents(*nudged)).log_prob(images.flatten(1)).sum() < best


def test_unlikeliness_is_the_density_of_an_independent_library():
    fitted, x = PrincipalComponents.fit(smooth(80, 0, side=6).double(), 5), smooth(2, 1, side=6).double()
    density = independent(fitted)
    expected = 2 * (density.log_prob(fitted.mean.flatten()) - density.log_prob(x.flatten(1))).sum()
    torch.testing.assert_close(fitted.unlikeliness(x), expected)


def test_the_most_likely_numbers_behind_an_image_have_its_unlikeliness():
    """Of all standard normal numbers that give an image, the shortest are as long as the image is unlikely."""
    fitted = PrincipalComponents.fit(smooth(80, 0, side=6).double(), 5)
    x = smooth(1, 1, side=6).double()
    wide = torch.cat([fitted.directions.flatten(1), fitted.noise * torch.eye(108, dtype=torch.float64)])
    numbers = torch.linalg.lstsq(wide.mT, (x - fitted.mean).flatten()[:, None]).solution[:, 0]
    candidate = {"components": numbers[None, :5], "remainder": numbers[5:].view(1, 3, 6, 6)}
    torch.testing.assert_close(fitted.encode(x), candidate)
    torch.testing.assert_close(fitted.decode(candidate), x)
    torch.testing.assert_close(fitted.surprise(candidate), fitted.unlikeliness(x))


def test_a_calibrated_gaussian_finds_other_images_as_unlikely_as_it_expects():
    images = smooth(200, 0, side=6) + 0.02 * torch.randn(200, 3, 6, 6, generator=generator(2))
    fitted, calibrated = (make(images[:60], 25) for make in (PrincipalComponents.fit, PrincipalComponents.calibrated))
    too_sure, sure = (float(one.unlikeliness(images[60:]) / images[60:].numel()) for one in (fitted, calibrated))
    assert too_sure > 1.5
    assert sure == pytest.approx(1, abs=0.25)


def test_two_images_and_equal_images_have_a_gaussian():
    for images in (smooth(2, 0), torch.full((5, 1, 4, 4), 0.5)):
        fitted = PrincipalComponents.fit(images, 500)
        assert fitted.noise >= QUANTISED * 0.999
        assert torch.isfinite(fitted.unlikeliness(images[:1] + 0.1))


def test_what_is_not_explained_is_the_profile_likelihood():
    """Against the likelihood maximised numerically over scale and noise power."""
    rng = generator(0)
    found, target = torch.randn(40, generator=rng).double(), torch.randn(40, generator=rng).double()
    target = target + 0.5 * found
    start = [torch.tensor(0.1).double().requires_grad_(), torch.tensor(0.0).double().requires_grad_()]
    optimizer = torch.optim.LBFGS(start, max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        scale, log_power = start
        value = 0.5 * ((target - scale * found).square().sum() / log_power.exp() + 40 * log_power)
        value.backward()
        return value

    optimizer.step(closure)
    constant = 20 * (target.square().mean().log() + 1)
    torch.testing.assert_close(closure().detach(), 20 * unexplained({"g": found}, {"g": target}) + constant)


def test_the_opposite_of_a_message_explains_least():
    g = torch.randn(9, generator=generator(0))
    values = [float(unexplained({"g": torch.lerp(-g, g.flip(0) * t + g * t * t, t)}, {"g": g})) for t in (0, 0.5, 1)]
    assert values == sorted(values, reverse=True)
    assert float(unexplained({"g": torch.zeros(9)}, {"g": g})) == 0


def test_entries_are_counted_by_their_weight():
    message = {"a": torch.zeros(3), "b": torch.zeros(2, 2)}
    assert float(entries(message)) == 7
    assert float(entries(message, {"a": torch.zeros(3), "b": torch.full((2, 2), 0.5)})) == 2


def seen_on_convnet(images, contrast=1.0):
    """Return batches of one image each, and what an attacker who holds others sees of them."""
    data = load_data("phantom", size=16, count=200)
    data = replace(data, images=(0.5 + contrast * (data.images - 0.5)).clamp(0, 1))
    task = build_task(TaskSpec("convnet", (3, 16, 16), 8, {"width": 8}, (0.5,) * 3, (0.5,) * 3))
    state, public = initial_state(task, generator(1)), Batch(data.images[80:], data.labels[80:])
    batches = [Batch(data.images[i : i + 1], data.labels[i : i + 1]) for i in range(images)]
    rounds = [run_round(task, state, batch, LocalTraining(), NoDefense(), generator(0)) for batch in batches]
    return batches, [observe(one, ThreatModel(labels=True, public=True), public) for one in rounds]


def test_public_images_bring_more_than_smoothness():
    """On a network with ReLU and pooling, in the same number of steps; and the message more than public images."""
    [batch], seen = seen_on_convnet(1)
    public = seen[0].public

    def error(attack):
        found = attack.recover(seen, generator(0))[0]
        return float((found.images - batch.images).square().mean())

    found = error(GaussianPrior(100))
    assert found < error(InvertingGradients(100)) / 4
    assert found < float((public.images.mean(0) - batch.images[0]).square().mean()) / 2


def test_images_that_end_at_0_and_1_are_kept_as_they_were_matched():
    """Were they only cut after the search, they would not explain the message as well as it found."""
    [_], seen = seen_on_convnet(1, contrast=2.0)
    found = GaussianPrior(60).recover(seen, generator(0))[0]
    assert ((found.images == 0) | (found.images == 1)).any()
    again = GaussianPrior(1).refine(seen, [found], generator(0))[0]
    assert again.objective == pytest.approx(found.objective, abs=0.02)


def test_an_answer_without_detail_is_refined():
    batches, seen = seen_on_convnet(3)
    smooth = [F.avg_pool2d(batch.images, 5, 1, 2, count_include_pad=False) for batch in batches]
    answers = [Reconstruction(x, b.labels, 0.0, Status.OK) for x, b in zip(smooth, batches, strict=True)]
    started, refined = (GaussianPrior(n, 0.03).refine(seen, answers, generator(0)) for n in (1, 30))
    before, after = (torch.stack([x.images for x in found]) for found in (started, refined))
    truth = torch.stack([batch.images for batch in batches])
    torch.testing.assert_close(before, torch.stack(smooth), atol=1e-5, rtol=0)
    assert (after - truth).square().mean() < (before - truth).square().mean()
    for batch, start, found in zip(batches, started, refined, strict=True):
        assert found.objective < start.objective - 0.1
        assert torch.equal(found.labels, batch.labels)


def test_without_public_images_there_is_no_prior(victims):
    observed = victims(1, "lenet", channels=4)
    assert GaussianPrior(2).recover(observed, generator(0))[0].status == "not-applicable"
