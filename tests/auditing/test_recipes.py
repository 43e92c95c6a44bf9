"""Defences by the recipe in an audit: who is attacked, what it is the same as, and what a plan cannot ask for."""

import json
from dataclasses import dataclass

import pandas as pd
import pytest
import tiny_site
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from leakward.auditing import audit, make_plan
from leakward.auditing.controls import negative
from leakward.auditing.site import open_site
from leakward.auditing.utility import guarantee, train
from leakward.defenses import LargerBatches, MoreLocalSteps
from leakward.errors import DefenseError, PlanError
from leakward.federated import Chain, Defense, Guarantee, NoDefense, agreed_recipe, client_update
from leakward.report import build_report
from leakward.streams import stream
from leakward.tape import Tape

FOUR = {"name": "larger-batches", "batch_images": 4}
LOCAL = {"name": "more-local-steps", "epochs": 3, "learning_rate": 0.1}
OFF = {"epochs": 0}
MATCHING = [{"name": "inverting-gradients", "iterations": 2}]


def opened(data, **tables):
    plan = make_plan(tiny_site.plan(data, **tables))
    return plan, open_site(plan, torch.device("cpu"))


def scores_of(run, defense, knowledge):
    """Return the scores of one cell, and what its table says of it."""
    cells, scores, _ = tiny_site.tables(run)
    [cell] = cells[(cells["defense"] == defense) & (cells["knowledge"] == knowledge)].to_dict("records")
    own = scores[scores["cell"] == cell["id"]].drop(columns="cell").reset_index(drop=True)
    return own, cell


SAME_AS = [
    (FOUR, {"batch_images": 4}),
    (
        {"name": "chain", "parts": [FOUR, LOCAL]},
        {"batch_images": 4, "share": "update", "epochs": 3, "learning_rate": 0.1},
    ),
]


@pytest.mark.parametrize(("defense", "recipe"), SAME_AS, ids=["images", "images and steps"])
def test_the_numbers_are_those_of_a_plan_with_this_recipe(defense, recipe, data, tmp_path):
    shared = {"attack": MATCHING, "utility": OFF, "audit": {"victims": 2}}
    audit(tiny_site.plan(data, defense=[defense], **shared), tmp_path / "defended")
    audit(tiny_site.plan(data, defense=[], recipe=recipe, **shared), tmp_path / "written")
    expected, plain = scores_of(tmp_path / "written", "none", "aware")
    for knowledge in ("unaware", "aware"):
        name = tiny_site.tables(tmp_path / "defended")[0]["defense"].iloc[-1]
        found, cell = scores_of(tmp_path / "defended", name, knowledge)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        assert [cell[key] for key in ("recipe", "victims", "status")] == [
            plain[key] for key in ("recipe", "victims", "status")
        ]


def test_larger_updates_hold_the_images_of_smaller_ones_and_others(data):
    eight = {"name": "larger-batches", "batch_images": 8}
    plan, site = opened(data, defense=[FOUR, eight])
    one, four, eight = (site.victims(plan, defense, 0) for defense in plan.defenses)
    assert (one.shape, four.shape, eight.shape) == ((4, 1), (4, 4), (4, 8))
    assert torch.equal(four[:, :1], one)
    assert torch.equal(eight[:, :4], four)
    assert len(eight.unique()) == 32


def test_a_victim_of_the_tables_is_one_image_whatever_the_batch(data, tmp_path):
    made = tiny_site.plan(data, defense=[FOUR], attack=MATCHING, utility=OFF, audit={"knowledge": ["aware"]})
    run = audit(made, tmp_path)
    plan = make_plan(made)
    site = open_site(plan, torch.device("cpu"))
    cells, scores, _ = tiny_site.tables(run)
    assert list(cells["recipe"]) == ["gradient, 1 image, eval mode", "gradient, 4 images, eval mode"]
    assert list(cells["victims"]) == [4, 16]
    for cell, victims in zip(cells["id"], (4, 16), strict=True):
        pictures = load_file(run / "parts" / cell / "images.safetensors")
        order = site.victims(plan, plan.defenses[1], 0).T.flatten()[:victims]
        assert torch.equal(pictures["originals"], (site.gallery[order] * 255).round().to(torch.uint8))
        assert sorted(scores[scores["cell"] == cell]["victim"].unique()) == list(range(victims))
    found = json.loads((run / "summary.json").read_text())
    assert [(row["victims"], row["updates"]) for row in found["defenses"]] == [(4, 4), (16, 4)]
    assert "rests on 4 to 16 images" in found["limits"][1]
    page = build_report(run).read_text()
    assert page.count('alt="Reconstruction of image 4, ') == 2


def test_the_negative_control_is_on_every_image_that_is_attacked(data):
    plan, site = opened(data, defense=[FOUR])
    control = negative(site, plan, pd.DataFrame(columns=["defense", "metric", "value"]), 1 / 32)
    assert "of 16:" in control["finding"]


IMPOSSIBLE = [
    ([{"name": "mixup"}], {}, "mixup: Mixup: expected at least 2 images in every local step, got 1"),
    ([{"name": "instahide"}], {}, "instahide: InstaHide: expected at least 2 images in every local step, got 1"),
    ([{"name": "bido"}], {}, "bido: BiDO: expected at least 2 images in every local step, got 1"),
    ([{"name": "chain", "parts": [{"name": "clipping"}, {"name": "mixup"}]}], {}, "clipping + mixup: Mixup: expected"),
    (
        [{"name": "mixup"}],
        {"recipe": {"share": "update", "batch_images": 5, "minibatch": 2}},
        "mixup: Mixup: expected at least 2 images in every local step, got 1; raise batch_images or minibatch",
    ),
    (
        [{"name": "mixup"}],
        {"recipe": {"batch_images": 2}, "utility": {"epochs": 1, "batch_size": 1}},
        "mixup: [utility] batch_size = 1: Mixup: expected at least 2 images in every local step, got 1",
    ),
    ([FOUR], {"audit": {"victims": 9}}, "larger-batches(batch_images=4): expected at most 32 images in all, got 36"),
    ([FOUR], {"recipe": {"batch_images": 4}}, "(batch_images=4): LargerBatches: expected to change the recipe"),
    ([{"name": "chain", "parts": [LOCAL, LOCAL]}], {}, "MoreLocalSteps: expected to change the recipe"),
    (
        [LOCAL],
        {"recipe": {"share": "update", "epochs": 4}},
        "expected more local steps than the 4 of the recipe, got 3",
    ),
]


@pytest.mark.parametrize(("defense", "tables", "words"), IMPOSSIBLE)
def test_a_plan_that_cannot_have_a_defence_is_refused_when_it_is_read(defense, tables, words, data):
    with pytest.raises(PlanError) as caught:
        make_plan(tiny_site.plan(data, defense=defense, **tables))
    [problem] = str(caught.value).splitlines()[1:]
    assert problem.startswith("  - [[defense]] ")
    assert words in problem


def test_several_defences_that_a_plan_cannot_have_are_reported_together(data):
    with pytest.raises(PlanError) as caught:
        make_plan(tiny_site.plan(data, defense=[{"name": "mixup"}, FOUR, {"name": "bido"}]))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("defense", ["mixup", "instahide", "bido"])
def test_larger_batches_before_it_give_a_defence_the_images_it_needs(defense, data):
    plan = make_plan(tiny_site.plan(data, defense=[{"name": "chain", "parts": [FOUR, {"name": defense}]}]))
    assert plan.images_per_update(plan.defenses[1]) == 4


def test_a_site_whose_last_batch_is_too_small_is_refused_before_anything_is_trained(data, tmp_path):
    """48 images in batches of 47 leave one over."""
    tables = {"defense": [{"name": "mixup"}], "recipe": {"batch_images": 2}}
    with pytest.raises(DefenseError, match=r"\[utility\] batch_size = 47: Mixup: expected at least 2 images .* got 1"):
        audit(tiny_site.plan(data, utility={"epochs": 1, "batch_size": 47}, **tables), tmp_path / "run")
    fewer = {"utility": {"epochs": 1, "train_images": 30}, "audit": {"victims": 1}, "data": {"site_images": 48}}
    fewer["defense"] = [{"name": "larger-batches", "batch_images": 40}]
    with pytest.raises(DefenseError, match="recipe: expected at least 40 images for a round, got 30"):
        audit(tiny_site.plan(data, **fewer), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def trained(data, defense, recipe=None, **utility):
    plan, site = opened(data, recipe=recipe or {}, utility={"epochs": 2, "batch_size": 16, **utility})
    return plan, site, train(plan, site, defense, 0, lambda _: None)


def test_utility_with_larger_batches_is_that_of_larger_minibatches(data):
    _, _, found = trained(data, LargerBatches(batch_images=24))
    _, _, expected = trained(data, NoDefense(), batch_size=24)
    assert_close(found.state, expected.state, rtol=0, atol=0)
    _, _, small = trained(data, LargerBatches(batch_images=8))
    _, _, plain = trained(data, NoDefense())
    assert_close(small.state, plain.state, rtol=0, atol=0)


def test_utility_with_local_steps_is_a_federation_of_one_client(data):
    defense = MoreLocalSteps(epochs=3, minibatch=5, learning_rate=0.1)
    plan, site, found = trained(data, defense)
    state, (images, labels) = site.initial_state(0), site.data.subset("train")
    recipe, order = agreed_recipe(plan.recipe, Chain((LargerBatches(batch_images=16), defense))), stream("order", 0)
    for _ in range(2):
        for index in torch.randperm(48, generator=order).split(16):
            sent = client_update(site.task, state, images[index], labels[index], recipe, defense, Tape()).tensors
            state = {name: value - sent[name] for name, value in state.items()}
    assert_close(found.state, state, rtol=0, atol=0)


def test_a_plan_with_local_training_is_trained_by_it(data):
    written = {"share": "update", "epochs": 3, "learning_rate": 0.1}
    _, _, found = trained(data, NoDefense(), recipe=written)
    _, _, expected = trained(data, MoreLocalSteps(epochs=3, learning_rate=0.1))
    assert_close(found.state, expected.state, rtol=0, atol=0)


@dataclass(frozen=True)
class Counted(Defense):
    """Hand back what it was asked to prove something for."""

    @property
    def poisson(self):
        return True

    def guarantee(self, sampling_rate, rounds, delta, steps=1):
        return Guarantee(sampling_rate, delta, f"{rounds} rounds of {steps}")


COUNTED = [
    (Counted(), 16 / 48, "6 rounds of 1"),
    (Chain((LargerBatches(batch_images=24), Counted())), 24 / 48, "4 rounds of 1"),
    (Chain((LargerBatches(batch_images=20), Counted())), 20 / 48, "6 rounds of 1"),
    (Chain((MoreLocalSteps(epochs=1, minibatch=4), Counted())), 4 / 48, "6 rounds of 4"),
    (Chain((MoreLocalSteps(epochs=3), Counted())), 16 / 48, "6 rounds of 3"),
    (Chain((LargerBatches(batch_images=48), MoreLocalSteps(epochs=3), Counted())), 1.0, "2 rounds of 3"),
]


@pytest.mark.parametrize(("defense", "rate", "rounds"), COUNTED)
def test_epsilon_is_for_the_images_and_steps_that_were_agreed(defense, rate, rounds, data):
    plan, site = opened(data, utility={"epochs": 2, "batch_size": 16})
    found = guarantee(plan, site, defense)
    assert (found.epsilon, found.accountant) == (pytest.approx(rate), rounds)
