"""The tables of a reproduction: what is in them is found again."""

import pandas as pd
import pytest

from leakward.errors import LeakwardError
from leakward.reproduce.results import Results, load_results

CELL = {"part": "blood", "attack": "a", "defense": "none", "knowledge": "aware", "after_rounds": 0, "seed": 0}


def scores(values, **cell):
    return [
        {**CELL, **cell, "update": place % 2, "victim": place, "metric": "psnr", "value": value}
        for place, value in enumerate(values)
    ]


@pytest.fixture
def results():
    rows = scores([10.0, 20.0, 12.0, 22.0]) + scores([1.0, 3.0], defense="sign", after_rounds=5)
    utility = [
        {"part": "blood", "defense": "none", "seed": seed, "round": n, "rounds": 2, "accuracy": 0.1 * n + seed}
        for seed in (0, 1)
        for n in (1, 2)
    ]
    return Results(pd.DataFrame(rows), pd.DataFrame(utility), pd.DataFrame(rows).assign(seconds=1.5, updates=2))


def test_a_measure_is_a_mean_with_an_interval_over_updates(results):
    found = results.measure("psnr", part="blood", defense="none")
    assert (found.mean, found.count, found.worst) == (16.0, 4, 22.0)
    assert (found.low, found.high) == (11.0, 21.0), "two updates of two images: resampling gives one of them twice"
    assert results.measure("psnr", defense="outpost") is None
    assert results.measure("ssim", defense="none") is None


def test_differences_are_taken_image_by_image():
    """Of images that both have, with an interval over updates."""
    rows = scores([10.0, 20.0, 12.0, 22.0]) + scores([7.0, 18.0, 9.0], defense="sign")
    rows += scores([50.0, 60.0], after_rounds=5) + scores([49.0, 58.0], after_rounds=5, defense="sign")
    made = Results(pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame())
    found = made.difference("psnr", "sign", after_rounds=0)
    assert (found.mean, found.count) == (pytest.approx(8 / 3), 3)
    assert (found.low, found.high) == (2.0, 3.0)
    assert made.difference("psnr", "sign").mean == pytest.approx(11 / 5)
    assert made.difference("psnr", "outpost") is None
    assert made.difference("psnr", "none", than="sign").mean == pytest.approx(-11 / 5)
    assert made.difference("psnr", "sign", at_most=20.0).mean == pytest.approx((3 + 2 + 3) / 5)


def test_cells_can_be_chosen_where_the_attack_works():
    """Of one update in eight guessing is right."""
    hits = [{**CELL, "attack": attack, "after_rounds": t, "update": u, "victim": u, "metric": "identified", "value": v}
            for attack, t, values in (("a", 0, "11111111"), ("a", 5, "00000000"), ("b", 0, "10000000"))
            for u, v in enumerate(map(float, values))]  # fmt: skip
    made = Results(pd.DataFrame(hits), pd.DataFrame(), pd.DataFrame(hits).assign(chance=1 / 8))
    places = made.leaking("blood")
    assert places == [("blood", "a", 0)]
    assert made.among(places).measure("identified").mean == 1.0
    assert made.among([]).measure("identified") is None


def test_accuracy_is_that_of_the_last_round_over_seeds(results):
    assert results.accuracy("blood", "none") == pytest.approx(0.7)
    assert results.accuracy("blood", "sign") is None


def test_factors_come_in_their_order(results):
    assert results.defenses("blood") == ["none", "sign"]
    assert results.times("blood") == [0, 5]


def test_tables_are_read_back(results, tmp_path):
    results.save(tmp_path / "new")
    again = load_results(tmp_path / "new")
    pd.testing.assert_frame_equal(again.scores, results.scores)
    pd.testing.assert_frame_equal(again.utility, results.utility)


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(LeakwardError, match="expected the tables of a reproduction"):
        load_results(tmp_path)
