"""The shadow paper's plans, the path from them to the page on a size far below ``quick``, and its claims."""

import re
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from leakward.auditing import make_plan
from leakward.errors import DataError
from leakward.parts import label
from leakward.reproduce import PAPERS, reproduce, write_page
from leakward.reproduce import shadow_plan as module
from leakward.reproduce.results import Results, load_results
from leakward.reproduce.shadow_plan import BATCHES, SETS, SIZES, Attacked, Size, short

PAPER = PAPERS["shadow"]
SOME = (Attacked(3, 1, (0, 4), ("matching",)), Attacked(7, 2, (4,), ("gaussian",)))
TINY = Size(
    False, module.NETWORK, (2, 2, 2, 4, 2, 2, 2, 4, 1), 16, 4, 0.05, SOME, 2, 1, 1, 1, 0,
    {"iterations": 1, "latent_steps": 1, "channels": 2, "latent": 4},
)  # fmt: skip


@pytest.fixture
def folder(image_folders):
    """Every set, as stand-in and as the paper's own."""
    names = [name for images in SETS.values() for name in (images.stand_in, images.own)]
    return image_folders(names, images=20, side=16)


@pytest.mark.parametrize("scale", SIZES)
def test_the_plans_are_sound_and_the_first_of_a_set_has_all_that_is_trained(scale, folder):
    size = SIZES[scale]
    plans = {name: make_plan(tables) for name, tables in PAPER.parts(scale).items()}
    for key in SETS:
        own = [plan for name, plan in plans.items() if name.startswith(f"{key}/batch")]
        assert plans[f"{key}/batch 1"] == own[0]
        for plan in own:
            assert {*plan.defenses} <= {*own[0].defenses}
            assert {*plan.kept_rounds} <= {*own[0].kept_rounds}
            assert plan.federation == own[0].federation
            assert plan.data == own[0].data
            assert plan.local.step_sizes(plan.recipe.batch_images) == (plan.recipe.batch_images,), "one local step"
            assert plan.recipe.batch_images in (BATCHES[plan.audit.client], 1)
            assert plan.audit.victims * plan.recipe.batch_images <= size.shares[plan.audit.client]
        assert [short(label("defenses", one)) for one in own[0].defenses][:3] == [
            "none", "shadow, published", "shadow, intended",
        ]  # fmt: skip
        assert own[0].audit.after_rounds[-1] == size.rounds
    assert (f"chest/{module.START}" in plans) == (size.resnet > 0)


def test_at_the_papers_size_it_is_the_papers_federation(folder):
    plan = make_plan(PAPER.parts("paper")["eye/batch 8"])
    assert plan.data.shares == (8, 32, 128, 512, 8, 32, 128, 512, 1)
    assert plan.federation.minibatches == (4, 4, 4, 4, 8, 8, 8, 8, 1)
    assert plan.audit.after_rounds == (0, 25, 50, 75, 100)
    assert (plan.model.name, plan.data.size, plan.recipe.learning_rate) == ("resnet18", 224, 0.01)
    assert Path(plan.data.name).name == "airogs"


def test_without_a_folder_of_data_it_says_which_are_needed(monkeypatch):
    monkeypatch.delenv("LEAKWARD_DATA", raising=False)
    with pytest.raises(DataError, match="LEAKWARD_DATA to name a folder with chest_xray_covid, retina_dr"):
        PAPER.parts("cpu")


def test_the_path_from_plans_to_page(folder, engine, monkeypatch):
    monkeypatch.setitem(SIZES, "quick", TINY)
    monkeypatch.setattr("leakward.reproduce.shadow.SETS", {"chest": SETS["chest"]})
    monkeypatch.setattr("leakward.reproduce.shadow_claims.SETS", {"chest": SETS["chest"]})
    monkeypatch.setattr("leakward.reproduce.shadow_sections.SETS", {"chest": SETS["chest"]})
    page = reproduce(PAPER, "quick", folder / "out", folder / "pages")
    text = page.read_text()
    assert [type(job.defense).__name__ for jobs in engine for job in jobs] == [
        "NoDefense", "ShadowDefense", "ShadowDefense", "RandomPixelNoise",
    ], "once for both parts"  # fmt: skip
    for title in ("Differences to no defence", "Accuracy", "Chest X-ray, batch 1", "All measures on chest X-ray"):
        assert f"## {title}" in text
    assert all((page.parent / link).exists() for link in re.findall(r"\]\(([^)]+)\)", text))
    assert "| none, none" not in text
    scores = load_results(page.parent / "shadow").scores
    assert {*module.MEASURES} == {*scores["metric"]}
    assert write_page(PAPER, page.parent).read_text() == text


SHADOWS = {"published": "shadow-defense(rounds=20)", "intended": "shadow-defense(form=intended, rounds=20)"}
NOISE = "random-pixel-noise(relative_rms=0.06, rounds=20)"


def made_up(fall=4.0, ssim=0.25, found=1.0, f1=0.9, inside=0.3, tested=20_000):
    """Return tables in which the published form lowers measures by so much, and the intended one and noise by none.

    Two attacks on eight updates of a set; both identify ``found`` of the images without a defence.
    """
    scores, cells, utility = [], [], []
    for key, attack, defense in product(SETS, ("gias", "gaussian-prior"), ("none", *SHADOWS.values(), NOISE)):
        own = {"part": f"{key}/batch 1", "attack": attack, "defense": defense, "knowledge": "aware", "after_rounds": 0}
        here = {**own, "seed": 0}
        cells.append({**here, "chance": 1 / 64, "updates": 8, "seconds": 1.0})
        on = defense == SHADOWS["published"]
        for update in range(8):
            values = {
                "identified": float(update < 8 * found), "psnr": 20.0 + update - fall * on, "ssim": 0.8 - ssim * on,
                "ssim_inside": 0.8 - inside * on + update / 1000, "ssim_outside": 0.8 - 0.1 * on + update / 1000,
            }  # fmt: skip
            scores += [{**here, "update": update, "victim": update, "metric": m, "value": v} for m, v in values.items()]
    for key, defense in product(SETS, ("none", *SHADOWS.values(), NOISE)):
        value = f1 if defense == SHADOWS["published"] else 0.9
        utility.append({"part": f"{key}/batch 1", "defense": defense, "round": 1, "rounds": 1, "f1_macro": value,
                        "test_images": tested})  # fmt: skip
    return Results(pd.DataFrame(scores), pd.DataFrame(utility), pd.DataFrame(cells))


def outcomes(form, **changes):
    found = [claim for claim in PAPER.claims(made_up(**changes)) if f"({form} form)" in claim.words]
    return [claim.outcome for claim in found]


YES, NO, OPEN = "confirmed", "not confirmed", "not decidable here"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [YES] * 4 + [YES] * 2 + [YES, YES]),
        ({"fall": 3.0}, [NO, YES, YES, YES] + [YES] * 2 + [YES, YES]),
        ({"ssim": 0.0}, [YES, NO, YES, NO] + [YES] * 2 + [NO, YES]),
        ({"found": 0.0}, [OPEN] * 4 + [YES] * 2 + [OPEN, OPEN]),
        ({"f1": 0.8}, [YES] * 4 + [NO] * 2 + [YES, YES]),
        ({"tested": 100}, [YES] * 4 + [OPEN] * 2 + [YES, YES]),
        ({"inside": 0.0}, [YES] * 4 + [YES] * 2 + [YES, NO]),
    ],
)
def test_claims(changes, expected):
    assert outcomes("published", **changes) == expected


def test_the_form_that_lowers_nothing_confirms_nothing():
    assert outcomes("intended") == [NO] * 4 + [YES] * 2 + [NO, OPEN]


def test_the_comparison_with_other_defences_is_left_open():
    [claim] = [claim for claim in PAPER.claims(made_up()) if "other defences" in claim.words]
    assert claim.outcome == OPEN
