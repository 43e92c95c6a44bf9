"""The gate's judgement: the control first, then the update, and doubt in the site's favour."""

from dataclasses import replace

import pytest
import torch

from leakward.federated import NoDefense
from leakward.live import Gate, read_site
from leakward.live.judging import decide
from leakward.live.recording import observed, seen
from leakward.types import Batch

GATE = Gate({"name": "gaussian-prior", "iterations": 60})


@pytest.fixture
def leaving(site_file, trained):
    """Return what the server would hold of an update with this much noise."""

    def make(std=0.0):
        rng = torch.Generator().manual_seed(3)
        after = {n: value + std * torch.randn(value.shape, generator=rng) for n, value in trained.after.items()}
        return seen(observed(read_site(site_file), trained.before, after, NoDefense(), trained.batch))

    return make


def test_an_image_that_is_given_away_withholds(leaving, trained):
    decision = decide(leaving(), trained.batch, GATE)
    assert (decision.send, decision.identified) == (False, 1.0)


def test_noise_that_hides_it_lets_go(leaving, trained):
    decision = decide(leaving(0.05), trained.batch, GATE)
    assert (decision.send, decision.identified) == (True, 0.0)
    assert "without a defence 100%" in decision.reason


@pytest.mark.parametrize("doubt", ["withhold", "send"])
def test_an_attack_that_is_too_weak_leaves_it_to_the_site(leaving, trained, doubt):
    weak = Gate({"name": "gaussian-prior", "iterations": 1, "restarts": 1}, inconclusive=doubt)
    decision = decide(leaving(0.05), trained.batch, weak)
    assert decision.send == (doubt == "send")
    assert "finds nothing without a defence either" in decision.reason


def test_an_attack_that_does_not_apply_withholds(leaving, trained):
    decision = decide(leaving(), trained.batch, Gate({"name": "analytic-linear"}, inconclusive="send"))
    assert not decision.send
    assert "does not apply" in decision.reason


def test_too_few_images_at_the_site_withhold(leaving, trained):
    others = Batch(trained.batch.others.images[:5], trained.batch.others.labels[:5])
    decision = decide(leaving(), replace(trained.batch, others=others), GATE)
    assert not decision.send
    assert "expected at least 20 images of the site" in decision.reason


def test_an_update_of_nothing_is_not_judged(leaving, trained):
    silent = leaving()
    update = replace(silent.update, tensors={n: torch.zeros_like(v) for n, v in silent.update.tensors.items()})
    decision = decide(replace(silent, update=update), trained.batch, GATE)
    assert not decision.send
    assert "nothing was trained" in decision.reason
