"""The path from the plans of a paper to its page, on a size far below ``quick``; and its claims, on made-up tables."""

import os
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from leakward.auditing import make_plan
from leakward.reproduce import PAPERS, reproduce, write_page
from leakward.reproduce.learnable_perturbation import PSNR, LearnablePerturbationPaper
from leakward.reproduce.learnable_perturbation_plan import DATA, PAIRS, SIZES, Size
from leakward.reproduce.results import Results, load_results

PAPER = PAPERS["learnable-perturbation"]
TWO = ({"name": "inverting-gradients", "iterations": 1}, {"name": "gradinversion", "iterations": 1})
TINY = Size({"name": "convnet", "width": 2}, {"learning_rate": 0.01}, TWO, 8, 1, 1, 128, 16, 1, (1.0,), (0.1,), 1)


class Tiny(LearnablePerturbationPaper):
    """The paper on images of noise, with one defence of each kind."""

    def __init__(self, folder):
        rng, self.path = np.random.default_rng(0), folder / "noise.npz"
        made = {}
        for split, count in {"train": 32, "val": 8, "test": 8}.items():
            made[f"{split}_images"] = rng.integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
            made[f"{split}_labels"] = np.arange(count)[:, None] % 2
        np.savez(self.path, **made)

    def parts(self, scale):
        return {
            name: {
                **plan,
                "data": {"name": str(self.path), "site_images": 32},
                "audit": {**plan["audit"], "after_rounds": [1]},
                "defense": plan["defense"][:3],
            }
            for name, plan in super().parts(scale).items()
        }


@pytest.mark.parametrize("scale", SIZES)
def test_the_plans_are_sound_and_have_all_that_is_compared(scale):
    for name, tables in PAPER.parts(scale).items():
        plan = make_plan(tables)
        kinds = {type(defense).__name__ for defense in plan.defenses}
        assert kinds == {"NoDefense", "DPSGD", "BiDO", "LearnablePerturbation", "Chain"}
        assert plan.audit.after_rounds == (0, SIZES[scale].epochs)
        images = SIZES[scale].batch_images
        assert plan.recipe.step_sizes(images) == (images,) * 5
        assert len(PAIRS[name]) == len(PSNR[name]["BiDO"]) == 6


def test_the_path_from_plans_to_page(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "quick", TINY)
    told = []
    page = reproduce(Tiny(tmp_path), "quick", tmp_path / "out", tmp_path / "pages", progress=lambda *n: told.append(n))
    text = page.read_text()
    assert told[-1][1] == 1.0
    for name, words in DATA.items():
        assert f"PSNR on {words}" in text
        assert f"Leakage and accuracy on {words}" in text
        assert f"figure-4-{name}.svg" in text
    assert re.search(r"recovers more .* in \d of 2 settings", text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all((page.parent / link).exists() for link in links)
    assert "none (" not in text
    assert "--scale quick` with Leakward" in text
    assert f"{os.cpu_count()} cores, device cpu" in text
    scores = load_results(page.parent / PAPER.name).scores
    cells = scores.groupby(["part", "attack", "defense", "knowledge", "after_rounds"], sort=False)["victim"].nunique()
    assert (cells == 8).all()
    assert len(cells) == 2 * 2 * (1 + 2 * 3)
    for title in ("PSNR on CIFAR-10", "Leakage and accuracy on CIFAR-10"):
        _, rest = text.split(f"## {title}")
        by = re.findall(r"By `(.*)`:", rest.partition("## ")[0])
        assert by == ["inverting-gradients", "gradinversion"], "each in a table of its own"
    figures = {path: path.read_bytes() for path in (page.parent / PAPER.name).glob("*.svg")}
    assert write_page(Tiny(tmp_path), page.parent).read_text() == text
    assert {path: path.read_bytes() for path in figures} == figures


def made_up(values, found=0.75):
    """Return tables with these accuracies on reconstructions, errors and accuracies of training, by defence."""
    scores, utility = [], []
    for part, (defense, (recovered, error, accuracy)) in product(DATA, values.items()):
        cell = {"part": part, "attack": "a", "defense": defense, "knowledge": "aware", "after_rounds": 1, "seed": 0}
        for update in range(8):
            own = {**cell, "update": update, "victim": update}
            scores.append({**own, "metric": "class_recovered", "value": float(update < 8 * recovered)})
            scores.append({**own, "metric": "identified", "value": float(update < 8 * found)})
            scores.append({**own, "metric": "mse_normalised", "value": error + 0.001 * update})
        utility.append({"part": part, "defense": defense, "seed": 0, "round": 1, "rounds": 1, "accuracy": accuracy})
    return Results(pd.DataFrame(scores), pd.DataFrame(utility), pd.DataFrame(scores).assign(chance=1 / 256))


BASE = {"none": (1.0, 0.1, 0.9), "dp-sgd": (1.0, 0.5, 0.88), "bido": (0.75, 0.6, 0.89)}


def outcomes(found=0.75, **ours):
    results = made_up(BASE | {f"learnable-perturbation(mean={m})": v for m, v in ours.items()}, found)
    return [claim.outcome for claim in PAPER.claims(results)]


def test_a_claim_needs_a_difference_beyond_the_intervals():
    assert outcomes(a=(0.0, 0.9, 0.87)) == ["confirmed", "confirmed"]
    assert outcomes(a=(0.75, 0.6, 0.87)) == ["not confirmed", "not confirmed"]


def test_claims_go_by_the_first_attack():
    one, other = (made_up(BASE | {"learnable-perturbation(mean=a)": (share, 0.9, 0.87)}) for share in (0.0, 1.0))
    scores, cells = (
        pd.concat([first, second.assign(attack="b")])
        for first, second in ((one.scores, other.scores), (one.cells, other.cells))
    )
    claims = PAPER.claims(Results(scores, one.utility, cells))
    assert [claim.outcome for claim in claims] == outcomes(a=(0.0, 0.9, 0.87))
    assert claims == PAPER.claims(one)


def test_settings_that_cost_the_accuracy_do_not_count():
    assert outcomes(a=(0.0, 0.9, 0.5)) == ["not decidable here"] * 2
    assert outcomes(a=(0.0, 0.9, 0.5), b=(1.0, 0.2, 0.9)) == ["not confirmed", "not confirmed"]


def test_an_attack_that_finds_nothing_decides_nothing():
    assert outcomes(found=0.0, a=(0.0, 0.9, 0.87)) == ["not decidable here"] * 2
