"""A loop that is measured by a few steps is said to take what it would have taken."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from leakward import pace
from leakward.pace import clock, measured, measuring, paced


@pytest.fixture
def passes(monkeypatch):
    """A function that lets time pass."""
    now = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def seconds(count):
        now[0] += count

    return seconds


def test_without_a_measurement_a_loop_is_a_loop(passes):
    assert not measuring()
    assert list(paced("abc", 7)) == ["a", "b", "c"]
    passes(2.0)
    assert clock() == 2.0


def test_what_is_left_out_counts_at_the_pace_of_what_was_not(passes):
    done = []
    with measured() as found:
        begin = clock()
        for step in paced(range(1000), 3):
            done.append(step)
            passes(0.1 if step else 5.0)  # the first one traces
        assert clock() - begin == pytest.approx(5.0 + 99.9)
    assert found.evaluations == pytest.approx(3000)
    assert done == [0, 1, 2, 3]
    assert not measuring()


def test_loops_one_after_the_other_and_one_within_the_other(passes):
    with measured() as found:
        begin = clock()
        for _ in paced(range(10)):
            for _ in paced(range(100), 2):
                passes(0.01)
            passes(0.5)
        assert clock() - begin == pytest.approx(10 * (1.0 + 0.5))
        assert found.evaluations == pytest.approx(2000)
        for _ in paced(range(5), 1):
            passes(1.0)
        assert clock() - begin == pytest.approx(20.0)
        assert found.evaluations == pytest.approx(2005)


def test_a_loop_that_ends_by_itself_takes_what_it_took(passes):
    with measured() as found:
        begin = clock()
        for step in paced(range(1000), 1):
            passes(0.1)
            if step == 2:
                break
        assert clock() - begin == pytest.approx(0.3)
        assert list(paced(range(50))) == [*range(50)], "a short loop is not cut"
    assert found.seconds == 0


def test_a_step_counts_until_what_it_began_is_done(passes):
    """As on a GPU, where a step has only been handed over when the next one begins."""
    with measured(wait=lambda: passes(0.5)):
        begin = clock()
        assert sum(1 for _ in paced(range(20))) == 2
        assert clock() - begin == pytest.approx(10.0)


def test_the_clock_never_goes_back(passes):
    with measured():
        seen = [clock()]
        for _ in paced(range(100)):
            passes(0.2)
            seen.append(clock())
        seen.append(clock())
    assert all(one < other for one, other in pairwise(seen))
