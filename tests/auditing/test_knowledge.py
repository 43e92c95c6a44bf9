"""Why protection is only claimed against the attacker who knows the defence."""

import json

import pandas as pd
import pytest
import tiny_site
import torch

from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.replay import gather
from leakward.auditing import audit, make_plan
from leakward.auditing.site import open_site
from leakward.threat import ThreatModel, observe
from leakward.types import generator

DEFENSE = {"name": "learnable-perturbation", "mean": 1.0, "std": 0.01, "coefficient": 0.0}


def tables(data, iterations):
    """The perturbation's noise has mean 1: to know it is to take it away again."""
    made = tiny_site.plan(
        data,
        attack=[{"name": "inverting-gradients", "iterations": iterations}],
        defense=[DEFENSE],
        audit={"victims": 4, "labels": "granted", "images": False},
        utility={"epochs": 0},
    )
    return made | {"model": {"name": "lenet", "channels": 6}}


def test_the_truth_explains_the_message_only_to_who_knows_the_noise(data):
    plan = make_plan(tables(data, 1))
    site = open_site(plan, torch.device("cpu"))
    rounds = site.rounds(plan, plan.defenses[1], 0, site.task, site.initial_state(0), None)
    distance = {}
    for knowledge in ("unaware", "aware"):
        seen = [observe(round_, ThreatModel(knowledge, labels=True)) for round_ in rounds]
        victims = gather(seen, restarts=1, averaged=8)
        for number, round_ in enumerate(rounds):
            own = {"message": {n: v[number] for n, v in victims.tensors["message"].items()}}
            draws = victims.replay.draw(generator(3))
            message = victims.replay.message(round_.batch.images, round_.batch.labels, own, draws)
            distance[knowledge, number] = float(cosine_distance(message, own["message"]))
    for number in range(len(rounds)):
        assert distance["aware", number] < 0.01
        assert distance["unaware", number] > 10 * distance["aware", number]


@pytest.mark.slow
def test_noise_with_a_public_mean_misleads_who_does_not_know_it_and_hides_little_from_who_does(data, tmp_path):
    audit(tables(data, 60), tmp_path)
    found = json.loads((tmp_path / "summary.json").read_text())["defenses"][1]["levels"]
    assert found["unaware"]["mse"]["mean"] > 1.5 * found["aware"]["mse"]["mean"]
    assert found["unaware"]["ssim"]["mean"] < found["aware"]["ssim"]["mean"] - 0.1


def test_an_attack_starts_alike_whatever_it_knows(data, tmp_path):
    """Where knowing changes nothing, as with noise of mean zero, both levels find the same."""
    noise = [{"name": "gaussian-noise", "std": 0.01}]
    searching = [{"name": "inverting-gradients", "iterations": 3}]
    run = audit(tiny_site.plan(data, attack=searching, defense=noise, utility={"epochs": 0}), tmp_path)
    _, scores, _ = tiny_site.tables(run)
    cells = pd.read_parquet(run / "cells.parquet").rename(columns={"id": "cell"})
    known = scores.merge(cells[["cell", "defense", "knowledge"]]).set_index(["victim", "metric"])
    noisy = known[known["defense"] != "none"]
    one, other = (noisy[noisy["knowledge"] == level]["value"] for level in ("unaware", "aware"))
    assert len(one) > 0
    pd.testing.assert_series_equal(one, other)
