"""The choice of a defence, on results made up so that the answer is plain."""

import pytest

from leakward.auditing import make_plan
from leakward.errors import LeakwardError
from leakward.federated import Chain
from leakward.report import recommend

TABLES = {
    "defense": [
        {"name": "gaussian-noise", "std": 0.1},
        {"name": "pruning"},
        {"name": "chain", "parts": [{"name": "clipping", "max_norm": 2.0}, {"name": "gaussian-noise"}]},
    ]
}
FOUND = {  # identified, upper end, accuracy
    "none": (1.0, 1.0, 0.9),
    "gaussian-noise(std=0.1)": (0.0, 0.1, 0.6),
    "pruning": (0.5, 0.8, 0.55),
    "clipping(max_norm=2.0) + gaussian-noise": (0.1, 0.3, 0.8),
}


@pytest.fixture
def run(make_run):
    """A finished run whose defences are those of ``FOUND``."""

    def make(found=FOUND, positive=True, diverged=""):
        def edit(summary, plan):
            row = summary["defenses"][0]
            summary["defenses"] = [
                row
                | {"defense": name, "accuracy": accuracy, "diverged": name == diverged}
                | {"levels": {"aware": {"identified": {"mean": mean, "low": 0.0, "high": high, "worst": 1.0}}}}
                for name, (mean, high, accuracy) in found.items()
            ]
            summary["controls"]["positive"]["passed"] = positive
            plan["plan"] = TABLES

        return make_run(edit, images=False)

    return make


def test_the_most_accurate_that_leaks_little_enough(run):
    found = recommend(run(), 0.3)
    assert found.chosen.defense == "clipping(max_norm=2.0) + gaussian-noise"
    assert found.reason == "clipping(max_norm=2.0) + gaussian-noise: at most 30 % identified, accuracy 80 %."
    assert found.defense == make_plan(TABLES).defenses[3]
    assert isinstance(found.defense, Chain)


def test_the_front_is_what_nothing_beats_in_both(run):
    best = {choice.defense: choice.best for choice in recommend(run(), 0.3).choices}
    assert best == {name: name != "pruning" for name in FOUND}


def test_without_a_need_no_defence_is_recommended(run):
    found = recommend(run(), 1.0)
    assert found.chosen.defense == "none"
    assert found.defense is None


@pytest.mark.parametrize(
    ("wish", "hint"), [((0.05, 0.0), "more victims would narrow the interval"), ((0.1, 0.7), "try other defences")]
)
def test_where_none_does_it_says_so(run, wish, hint):
    found = recommend(run(), *wish)
    assert found.chosen is None
    assert found.reason.startswith("None does: ")
    assert "gaussian-noise(std=0.1), 0 % found and up to 10 % not ruled out, at an accuracy of 60 %" in found.reason
    assert found.reason.endswith(hint + ".")


def test_an_accuracy_that_was_not_measured_meets_no_wish_for_one(run):
    made = run({"none": (1.0, 1.0, None), "pruning": (0.0, 0.1, None)})
    assert recommend(made, 0.2).chosen.defense == "pruning"
    assert recommend(made, 0.2, 0.1).chosen is None


def test_a_defence_whose_training_diverged_is_not_recommended(run):
    made = run({"none": (1.0, 1.0, 0.9), "pruning": (0.0, 0.1, None)}, diverged="pruning")
    found = recommend(made, 0.2)
    assert found.chosen is None
    assert not any(choice.best for choice in found.choices if choice.defense == "pruning")


def test_attacks_that_fail_without_a_defence_recommend_nothing(run):
    with pytest.raises(LeakwardError, match="an attack that succeeds without a defence"):
        recommend(run(positive=False), 0.3)


@pytest.mark.parametrize("wish", [(1.1, 0.0), (-0.1, 0.0), (0.1, 2.0), (float("nan"), 0.0)])
def test_a_wish_out_of_range_is_refused(run, wish):
    with pytest.raises(LeakwardError, match="expected a share from 0 to 1"):
        recommend(run(), *wish)
