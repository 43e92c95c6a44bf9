"""From tables to the summary: worst case per image over attacks, controls, and the verdict on what was asked."""

from dataclasses import replace

import pandas as pd
import pytest
import tiny_site
import torch

from leakward.auditing import make_plan
from leakward.auditing.cell import cells, factors
from leakward.auditing.controls import consistency, negative
from leakward.auditing.site import open_site
from leakward.auditing.summary import summarise_run
from leakward.defenses import GaussianNoise
from leakward.federated import NoDefense
from leakward.metrics import psnr, ssim
from leakward.streams import stream
from leakward.threat import ThreatModel, examine, observe

PASSED = [["signal", True, "fine"]]


@pytest.fixture(scope="module")
def plan(data):
    noise = [{"name": "gaussian-noise", "std": std} for std in (0.1, 1.0)]
    audit = {"victims": 8, "knowledge": ["unaware", "aware"]}
    return make_plan(tiny_site.plan(data, defense=noise, audit=audit, utility={"epochs": 0}))


@pytest.fixture(scope="module")
def site(plan):
    return open_site(plan, torch.device("cpu"))


def run(plan, site, hits, *, checks=PASSED, gain=-0.1):
    """Summarise a run in which ``hits(attack, defense label, knowledge)`` images were identified."""
    rows, scores = [], []
    for number, cell in enumerate(cells(plan)):
        own = {"status": "ok", "victims": 8, "seconds": 1.0, "class_f1": None, "members": []}
        row = {"id": str(number), **factors(plan, cell), **own}
        found = hits(row["attack"], row["defense"], row["knowledge"])
        rows.append(row)
        for victim in range(8):
            hit = victim in found
            values = {"identified": float(hit), "rank": 1.0 if hit else len(site.gallery), "psnr": 10.0 + number}
            values["ssim_gain"] = gain - victim / 100
            scores += [{"cell": str(number), "victim": victim, "metric": m, "value": v} for m, v in values.items()]
    return summarise_run(plan, site, rows, scores, [], checks)


def statuses(summary):
    return {row["defense"]: row["verdict"]["status"] for row in summary["defenses"]}


def test_the_worst_defence_gives_the_verdict(plan, site):
    def hits(attack, defense, knowledge):
        return range(8) if defense in ("none", "gaussian-noise(std=1.0)") else ()

    found = run(plan, site, hits)
    assert statuses(found) == {
        "none": "leaks", "gaussian-noise(std=0.1)": "no leak found", "gaussian-noise(std=1.0)": "leaks"
    }  # fmt: skip
    assert found["verdict"]["status"] == "leaks"
    assert found["verdict"]["reason"].startswith(
        "With gaussian-noise(std=1.0), against an attacker who knows it: 8 of 8"
    )
    assert found["verdict"]["worst"]["defense"] == "gaussian-noise(std=1.0)"
    assert (found["verdict"]["worst"]["value"], found["verdict"]["worst"]["victims"]) == (1.0, 8)


def test_only_the_aware_number_is_called_protection(plan, site):
    found = run(plan, site, lambda attack, defense, knowledge: range(8) if knowledge == "aware" else ())
    assert found["verdict"]["status"] == "leaks"
    assert found["defenses"][1]["levels"]["unaware"]["identified"]["mean"] == 0
    found = run(
        plan, site, lambda attack, defense, knowledge: range(8) if defense == "none" or knowledge != "aware" else ()
    )
    assert found["verdict"]["status"] == "no leak found"


def test_attacks_that_do_not_leak_undefended_prove_nothing(plan, site):
    found = run(plan, site, lambda *_: ())
    assert found["controls"]["positive"]["passed"] is False
    assert set(statuses(found).values()) == {"inconclusive"}
    assert found["verdict"]["status"] == "inconclusive"


def test_inconsistent_observations_prove_nothing(plan, site):
    checks = [["signal", True, "fine"], ["signal", False, "the update is zero"]]
    found = run(plan, site, lambda *_: range(8), checks=checks)
    assert found["controls"]["consistency"]["passed"] is False
    assert found["verdict"]["status"] == "inconclusive"


def test_the_worst_case_is_per_image_over_attacks(plan, site):
    def hits(attack, defense, knowledge):
        return (0, 1, 2) if attack == "analytic-linear" else (2, 3)

    found = run(plan, site, hits)
    assert found["defenses"][1]["levels"]["aware"]["identified"]["mean"] == 0.5
    assert found["defenses"][1]["verdict"]["reason"].startswith("4 of 8 images identified")
    assert found["verdict"]["worst"]["attack"] == "analytic-linear"


def test_without_a_defence_the_undefended_client_is_judged(data, site):
    plan = make_plan(tiny_site.plan(data, defense=[], audit={"victims": 8}, utility={"epochs": 0}))
    found = run(plan, site, lambda *_: range(8))
    assert found["verdict"]["status"] == "leaks"
    assert found["verdict"]["reason"].startswith("Without a defence: 8 of 8")
    assert run(plan, site, lambda *_: ())["verdict"]["status"] == "inconclusive"


def test_the_negative_control_is_the_public_mean_image(plan, site):
    found = run(plan, site, lambda *_: range(8))["controls"]["negative"]
    public, _ = site.data.subset("val")
    private = site.gallery[site.victims(plan, NoDefense(), 0).flatten()]
    guess = public.mean(0).expand_as(private)
    assert found["mean_image"]["psnr"] == pytest.approx(float(psnr(private, guess).mean()), abs=1e-4)
    assert found["mean_image"]["ssim"] == pytest.approx(float(ssim(private, guess).mean()), abs=1e-4)
    assert found["mean_image"]["identified"] <= 1 / 8, "one image cannot be nearest to several"
    assert found["passed"] is True
    assert found["chance"] == 1 / 32
    assert "The undefended attacks have 10.5 dB on average." in found["finding"]


def test_the_negative_control_fails_where_the_prior_alone_identifies(plan, site, monkeypatch):
    victim = site.victims(plan, NoDefense(), 0).flatten()[:1]
    giving_away = replace(site, data=replace(site.data, images=site.data.images.clone()))
    giving_away.data.images[site.data.splits["val"]] = site.gallery[victim]
    monkeypatch.setattr(type(site), "victims", lambda self, plan, defense, seed: victim[None])
    often = replace(plan, audit=replace(plan.audit, seeds=tuple(range(12))))
    found = negative(giving_away, often, pd.DataFrame(columns=["defense", "metric", "value"]), 1 / 32)
    assert found["mean_image"]["identified"] == 1.0
    assert found["passed"] is False


def observations(plan, site, defense=None):
    rounds = site.rounds(plan, defense or NoDefense(), 0, site.task, site.initial_state(0), None)
    return [observe(round_, ThreatModel()) for round_ in rounds]


def doctor(seen):
    return consistency([[c.name, c.passed, c.finding] for one in seen for c in examine(one)])


def test_honest_updates_are_consistent(plan, site):
    found = doctor(observations(plan, site))
    assert found["passed"] is True
    assert found["finding"] == "All checks of 8 undefended updates passed."


@pytest.mark.parametrize(
    ("forge", "name"),
    [
        (lambda tensors: {n: torch.zeros_like(v) for n, v in tensors.items()}, "signal"),
        (lambda tensors: {n: v + torch.randn(v.shape, generator=stream("x")) for n, v in tensors.items()}, "loss"),
        (lambda tensors: {n: v / 0 for n, v in tensors.items()}, "finite values"),
        (lambda tensors: {f"module.{n}": v for n, v in tensors.items()}, "names and shapes"),
    ],
)
def test_one_update_that_does_not_belong_is_noticed(plan, site, forge, name):
    seen = observations(plan, site)
    seen[3] = replace(seen[3], update=replace(seen[3].update, tensors=forge(seen[3].update.tensors)))
    found = doctor(seen)
    assert found["passed"] is False
    assert name in found["finding"]
    assert [check["passed"] for check in found["checks"] if check["name"] == name] == [False]


def test_every_defence_meets_the_same_victims_and_weights(plan, site):
    plain, noisy = (
        site.rounds(plan, d, 0, site.task, site.initial_state(0), None) for d in (NoDefense(), GaussianNoise(std=0.1))
    )
    for one, two in zip(plain, noisy, strict=True):
        assert torch.equal(one.batch.images, two.batch.images)
        assert all(torch.equal(one.state[n], two.state[n]) for n in one.state)
        assert any(not torch.equal(one.update.tensors[n], two.update.tensors[n]) for n in one.update.tensors)
    assert len(site.victims(plan, NoDefense(), 0).flatten().unique()) == 8
    assert not torch.equal(site.victims(plan, NoDefense(), 0), site.victims(plan, NoDefense(), 1))


def test_the_gallery_holds_only_private_images_and_none_twice(plan, site):
    private, _ = site.data.subset("train")
    rows = {image.numpy().tobytes() for image in private}
    gallery = [image.numpy().tobytes() for image in site.gallery]
    assert len(set(gallery)) == len(gallery) == 32
    assert set(gallery) <= rows
