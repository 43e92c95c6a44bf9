"""MedPFL's plans, its SSIM as published, its claims on made-up tables, and the path on a size far below ``quick``."""

import re

import numpy as np
import pandas as pd
import pytest
from skimage.metrics import structural_similarity

from leakward.auditing import make_plan
from leakward.errors import DataError
from leakward.reproduce import PAPERS, medpfl_plan, reproduce, write_page
from leakward.reproduce.medpfl import MEAN, STD, published_ssim
from leakward.reproduce.medpfl_plan import ATTACKS, GRADINV, SETS, SIZES, Size
from leakward.reproduce.results import Results

PAPER = PAPERS["medpfl"]
TINY = Size(1, 2, 1, 32, 1, (0, 1))
RNG = np.random.default_rng(0)


@pytest.fixture
def folder(image_folders):
    """Every set of the paper."""
    return image_folders(SETS, images=16, side=32)


@pytest.mark.parametrize("scale", SIZES)
def test_the_plans_are_sound_and_each_attack_has_its_network(scale, folder):
    plans = {name: make_plan(tables) for name, tables in PAPER.parts(scale).items()}
    assert len(plans) == 7 * len(SETS)
    for name in SETS:
        own = {attack: plans[f"{name}/{attack}"] for attack in ATTACKS}
        assert [plan.model.name for plan in own.values()].count("resnet18") == 1
        assert len({tuple(own[attack].model.options.items()) for attack in ("cpl", "dlg", "idlg")}) == 3
        budgets = [
            one.evaluations if hasattr(one, "evaluations") else one.iterations
            for one in plans[f"{name}/common"].attacks
        ]
        assert budgets == [SIZES[scale].evaluations] * 4
        assert {type(one).__name__ for one in plans[f"{name}/noise"].defenses} == {
            "NoDefense", "LaplacianNoise", "GaussianNoise", "Pruning",
        }  # fmt: skip


def test_without_a_folder_of_data_it_says_which_are_needed(monkeypatch):
    monkeypatch.delenv("LEAKWARD_DATA", raising=False)
    with pytest.raises(DataError, match="LEAKWARD_DATA to name a folder with skin_isic, chest_xray_covid, brain_mri"):
        PAPER.parts("quick")


def test_with_the_range_of_dlg_the_published_ssim_is_the_right_one():
    one, other = RNG.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 0}
    right = structural_similarity(one / 255, other / 255, data_range=1.0, **settings)
    assert published_ssim(one, other, "dlg") == pytest.approx(right)
    assert abs(right) < 0.1


def test_with_a_range_of_255_images_of_noise_are_nearly_the_same():
    """Independent images of mean 0 and variance 1 get 58.5 / 60.5 = 0.967, by the constants alone."""
    mean, std = (np.array(value)[:, None, None] for value in (MEAN, STD))
    one, other = (np.clip((RNG.normal(size=(3, 128, 128)) * std + mean) * 255, 0, 255).astype(np.uint8) for _ in "ab")
    assert published_ssim(one, other, GRADINV) == pytest.approx(0.967, abs=0.01)


def test_with_a_range_of_0_flat_images_have_no_ssim():
    flat = np.zeros((1, 32, 32), dtype=np.uint8)
    assert np.isnan(published_ssim(flat, flat, "cpl"))


def test_the_path_from_plans_to_page(folder, monkeypatch):
    monkeypatch.setitem(SIZES, "quick", TINY)
    monkeypatch.delitem(SETS, "skin_isic")
    monkeypatch.delitem(SETS, "chest_xray_covid")
    monkeypatch.setattr(medpfl_plan, "BEYOND", ())
    page = reproduce(PAPER, "quick", folder / "out", folder / "pages")
    text = page.read_text()
    for title in (
        "Each attack on its own network",
        "All attacks on one network",
        "Noise",
        "While the network is trained",
    ):
        assert f"## {title}" in text
    assert all((page.parent / link).exists() for link in re.findall(r"\]\(([^)]+)\)", text))
    for attack in ATTACKS:
        assert re.search(rf"\| brain MRI \| {attack}[^|]*\| \d", text)
    assert write_page(PAPER, page.parent).read_text() == text


def made_up(undefended, noisy, ssim):
    """Return tables of these rates of identification, and of SSIM by attack on the common network."""
    scores = []

    def rows(part, attack, defense, metric, values):
        cell = {"part": part, "attack": attack, "defense": defense, "knowledge": "aware", "after_rounds": 0, "seed": 0}
        scores.extend({**cell, "update": i, "victim": i, "metric": metric, "value": v} for i, v in enumerate(values))

    def hits(rate):
        return [float(i < 8 * rate) for i in range(8)]

    for name in SETS:
        for attack in ATTACKS:
            rows(f"{name}/{attack}", attack, "none", "identified", hits(undefended[attack]))
            rows(f"{name}/common", attack, "none", "identified", hits(undefended[attack]))
            rows(f"{name}/common", attack, "none", "ssim", [ssim[attack] + i / 1000 for i in range(8)])
        rows(f"{name}/noise", "cpl", "none", "identified", hits(undefended["cpl"]))
        rows(f"{name}/noise", "cpl", "laplacian-noise(scale=0.0025)", "identified", hits(noisy))
        rows(f"{name}/noise", "cpl", "laplacian-noise(scale=0.3)", "identified", hits(1.0))
    frame = pd.DataFrame(scores)
    return Results(frame, pd.DataFrame(), frame.drop_duplicates(["part", "attack", "defense"]).assign(chance=1 / 256))


ALL = dict.fromkeys(ATTACKS, 1.0)
SSIM = dict.fromkeys(ATTACKS, 0.5)


@pytest.mark.parametrize(
    ("undefended", "noisy", "ssim", "outcomes"),
    [
        (ALL, 0.5, SSIM | {GRADINV: 0.8}, ["confirmed"] * 3),
        (ALL, 0.0, SSIM | {"cpl": 0.8}, ["confirmed", "not confirmed", "not confirmed"]),
        (ALL | {GRADINV: 0.0}, 0.5, SSIM | {GRADINV: 0.8}, ["not decidable here", "not confirmed", "confirmed"]),
        (dict.fromkeys(ATTACKS, 0.0), 0.5, SSIM, ["not decidable here"] * 3),
    ],
)
def test_claims(undefended, noisy, ssim, outcomes):
    assert [claim.outcome for claim in PAPER.claims(made_up(undefended, noisy, ssim))] == outcomes
