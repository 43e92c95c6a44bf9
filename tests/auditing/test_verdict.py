"""The verdict, against numbers that can be worked out by hand."""

import numpy as np
import pytest

from leakward.auditing.verdict import Tally, Verdict, judge, with_controls
from leakward.metrics import Summary

LEAKS, NONE, OPEN = "leaks", "no leak found", "inconclusive"


def tally(hits, updates=8, *, ended=None, images=1, gallery=100, attacks=1, missed=60, identified=None):
    """Return ``hits`` updates identified, and the others at place ``missed``."""
    ended = updates if ended is None else ended
    count = ended * images
    hit_images = hits if identified is None else identified
    summaries = {"identified": Summary(hit_images / count if count else 0.0, 0.0, 1.0, float(hits > 0), count)}
    places = (1,) * hits + (missed,) * (ended - hits)
    return Tally(summaries if ended else {}, updates, places, images, gallery, attacks)


def test_the_exact_binomial_test_decides():
    # P(X >= 1) = 1 - 0.99^8 = 0.077 and P(X >= 2) = 1 - 0.99^8 - 8 0.01 0.99^7 = 0.0027
    assert judge(tally(1)).status == NONE
    assert judge(tally(2)).status == LEAKS
    # half of 5 % for each of the two tests; 1 - 0.99^4 = 0.0394 does not reach it
    assert judge(tally(1, 4)).status == NONE


def test_the_best_of_several_attacks_must_beat_their_joint_chance():
    # with chance 0.01 a, 2 of 8: 0.0027 for a = 1, 0.0103 for a = 2, 0.0381 for a = 4
    assert judge(tally(2, attacks=2)).status == LEAKS
    assert judge(tally(2, attacks=4)).status == NONE
    assert tally(0, attacks=20).chance() == pytest.approx(0.2)
    assert tally(0, attacks=200).chance() == 1.0


def test_places_tell_a_leak_that_stops_short_of_identification():
    # Fisher: -2 sum ln(place / 100) against chi-square with 16 degrees of freedom, 28.8 at 2.5 %
    assert judge(tally(0, missed=16)).status == LEAKS  # 29.3
    assert judge(tally(0, missed=17)).status == NONE  # 28.4
    assert "at place 16 in the median" in judge(tally(0, missed=16)).reason
    # the best of two attacks: 2 place / 100, so 8 leaks and 9 does not
    assert judge(tally(0, missed=8, attacks=2)).status == LEAKS
    assert judge(tally(0, missed=9, attacks=2)).status == NONE


def test_an_attacker_who_guesses_is_rarely_said_to_leak():
    rng = np.random.default_rng(0)
    said = 0
    for _ in range(400):
        places = tuple(int(place) for place in rng.integers(1, 257, 8))
        found = Summary(sum(place == 1 for place in places) / 8, 0.0, 1.0, 0.0, 8)
        said += judge(Tally({"identified": found}, 8, places, 1, 256, 1)).status == LEAKS
    assert said <= 0.07 * 400


def test_images_of_one_update_are_no_independent_trials():
    # 2 of 4 updates with 2 images each, chance 4 / 100: P(X >= 2) = 1 - 0.96^4 - 4 0.04 0.96^3 = 0.0091
    assert tally(0, images=2).chance() == pytest.approx(0.04)
    assert judge(tally(2, 4, images=2, identified=2)).status == LEAKS
    # all 4 images of one update of 4: 1 - 0.84^4 = 0.50; 4 of 16 images taken as independent would be 3e-5
    verdict = judge(tally(1, 4, images=4, identified=4))
    assert verdict.status == NONE
    assert "4 of 16 images identified among 100 (chance 4.0%), in 1 of 4 updates" in verdict.reason


def test_the_absence_of_a_leak_is_only_claimed_with_its_bound():
    # 0 of 8: 1 - 0.05^(1/8) = 31 %; 0 of 59: 1 - 0.05^(1/59) = 5 %
    assert "at 95 % confidence at most 31% are" in judge(tally(0)).reason
    assert "0 of 59 images identified among 100 (chance 1.0%)" in judge(tally(0, 59)).reason
    assert "at most 5% are" in judge(tally(0, 59)).reason
    assert "at most 31% of updates give one away" in judge(tally(0, images=2)).reason


@pytest.mark.parametrize(
    ("open_tally", "words"),
    [
        (tally(0, 8, ended=0), "no attack applied or ended"),
        (tally(0, 3), "too few updates"),
        (tally(0, 8, ended=7), "no attack ended for 1 of 8 updates"),
        (tally(8, 8, gallery=2, attacks=2), "too few images to tell identification from chance"),
        (tally(4, 4, images=8, gallery=64, identified=32), "too few images to tell identification from chance"),
    ],
)
def test_what_cannot_be_decided_is_never_called_safe(open_tally, words):
    verdict = judge(open_tally)
    assert verdict.status == OPEN
    assert words in verdict.reason


def test_a_leak_is_a_leak_with_few_updates_and_with_failed_ones():
    assert judge(tally(1, 1)).status == LEAKS  # P = 0.01
    assert judge(tally(2, 8, ended=2)).status == LEAKS


LEAK, SAFE, UNKNOWN = Verdict(LEAKS, "l."), Verdict(NONE, "n."), Verdict(OPEN, "o.")


@pytest.mark.parametrize("verdict", [LEAK, SAFE, UNKNOWN])
def test_the_controls(verdict):
    assert with_controls(verdict, LEAK, consistent=True) == verdict
    for control in (LEAK, SAFE, UNKNOWN):
        assert with_controls(verdict, control, consistent=False).status == OPEN
        assert "do not belong together" in with_controls(verdict, control, consistent=False).reason


@pytest.mark.parametrize("control", [SAFE, UNKNOWN])
def test_protection_is_not_claimed_where_the_undefended_client_does_not_leak(control):
    verdict = with_controls(SAFE, control, consistent=True)
    assert verdict.status == OPEN
    assert "too weak here" in verdict.reason
    assert with_controls(LEAK, control, consistent=True) == LEAK
    assert with_controls(UNKNOWN, control, consistent=True) == UNKNOWN
