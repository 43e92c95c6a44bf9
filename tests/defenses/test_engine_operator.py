"""Filters of engines as operators, and what happens without the engine."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from typer.testing import CliRunner

from leakward import registry
from leakward.auditing import make_plan
from leakward.cli import app
from leakward.defenses.engines.operator import WORDS, call
from leakward.defenses.engines.replies import through
from leakward.errors import DefenseError, PlanError
from leakward.federated import LocalTraining, Reply
from leakward.types import generator

NAMES = [name for name in registry.BUILT_IN["defenses"] if name.startswith(("flare", "flower"))]


def noisy(before, after, scale):
    """Stand for an engine: in place, by NumPy's global generator."""
    import numpy as np

    for name, value in after.items():
        value -= before[name]
        value *= scale * np.random.rand()
    return after


def apply(before, after, seed):
    return call(noisy, {"scale": 2.0}, {"w": before}, {"w": after}, seed)["w"]


@pytest.fixture
def given():
    rng = generator(0)
    seeds = torch.arange(3 * WORDS).view(3, WORDS).float()
    return torch.rand(2, generator=rng), torch.rand(3, 2, generator=rng), seeds


def test_it_is_the_same_under_vmap_and_in_a_trace(given):
    before, after, seeds = given
    expected = torch.stack([apply(before, one, seed) for one, seed in zip(after, seeds, strict=True)])
    batched = vmap(apply, in_dims=(None, 0, 0))
    assert torch.equal(batched(before, after, seeds), expected)
    traced = make_fx(batched)(before, torch.zeros_like(after), seeds)
    assert torch.equal(traced(before, after, seeds), expected)
    assert len(expected.unique()) == expected.numel()


def test_it_has_no_derivative_and_leaves_its_inputs_alone(given):
    before, after, seeds = given
    kept = after.clone()
    slope = grad(lambda value: (apply(before, value, seeds[0]) * value.detach()).sum() + value.sum())(after[0])
    assert torch.equal(slope, torch.ones(2))
    assert torch.equal(after, kept)


def test_a_tensor_without_dimension_is_refused_since_engines_send_it_as_it_is():
    scale = nn.Parameter(torch.ones(())).detach()
    reply = Reply({"scale": scale}, {"scale": scale}, {}, 1, LocalTraining())
    with pytest.raises(DefenseError, match="at least one dimension, got 'scale' of none"):
        through(noisy, {"scale": 1.0}, reply, replace(reply))


@pytest.fixture
def without_engines(monkeypatch):
    for name in ("flwr", "nvflare"):
        for module in [module for module in sys.modules if module.split(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_engines")
@pytest.mark.parametrize("name", NAMES)
def test_a_plan_without_the_engine_stops_with_what_to_install(name):
    package, extra = ("nvflare", "nvflare") if name.startswith("flare") else ("flwr", "flower")
    sentence = rf"{name}: expected {package}, which is not installed; install leakward\[{extra}\]"
    with pytest.raises(PlanError, match=sentence):
        make_plan({"defense": [{"name": name}]})


@pytest.mark.usefixtures("without_engines")
def test_defences_are_listed_without_the_engines():
    shown = CliRunner().invoke(app, ["list", "defenses"])
    assert shown.exit_code == 0
    assert all(name in shown.output for name in NAMES)
