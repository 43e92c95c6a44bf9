"""Randomness is recorded when it is live, and read back when it is replayed."""

import pytest
import torch

from leakward.tape import Draw, Tape, sample
from leakward.types import generator

LIKE = torch.zeros((), dtype=torch.float64)


def test_a_live_tape_records_what_it_gives():
    tape = Tape(generator(0))
    given = [tape.normal((2, 3), LIKE), tape.uniform((4,), LIKE), tape.normal((), LIKE)]
    assert tape.draws == [Draw("normal", (2, 3)), Draw("uniform", (4,)), Draw("normal", ())]
    assert all(torch.equal(value.double(), got) for value, got in zip(tape.values, given, strict=True))


def test_a_replay_gives_the_same_without_a_generator():
    live = Tape(generator(0))
    given = [live.normal((2, 3), LIKE), live.uniform((4,), LIKE)]
    before = torch.get_rng_state()
    replay = Tape(values=live.values)
    assert torch.equal(replay.normal((2, 3), LIKE), given[0])
    assert torch.equal(replay.uniform((4,), LIKE), given[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides():
    first, same, other = (Tape(generator(seed)).normal((5,), LIKE) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_values_follow_the_tensor_they_are_like():
    assert Tape(generator(0)).normal((2,), LIKE).dtype == torch.float64
    assert Tape(generator(0)).uniform((2,), torch.zeros((), dtype=torch.float16)).dtype == torch.float16
    double = torch.ones(2, dtype=torch.float64)
    assert Tape(values=[double]).normal((2,), torch.zeros(())).dtype == torch.float32


def test_distributions():
    normal = sample(Draw("normal", (20_000,)), generator(0))
    uniform = sample(Draw("uniform", (20_000,)), generator(0))
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert normal.min() < -2
    assert (uniform.min() >= 0) & (uniform.max() < 1)
    assert abs(uniform.mean() - 0.5) < 0.01


def test_a_replay_can_be_differentiated_in_its_values():
    value = torch.ones(2, requires_grad=True)
    (3 * Tape(values=[value]).normal((2,), LIKE)).sum().backward()
    assert torch.equal(value.grad, torch.full((2,), 3.0))


def test_a_replay_that_runs_out_says_so():
    replay = Tape(values=[torch.zeros(2)])
    replay.normal((2,), LIKE)
    with pytest.raises(ValueError, match=r"asks for value 1, uniform of shape \(3,\), but holds 1; draw the values"):
        replay.uniform((3,), LIKE)


def test_a_replay_of_another_shape_says_so():
    with pytest.raises(ValueError, match=r"asks for value 0, normal of shape \(2, 3\), but holds one of shape \(3,\)"):
        Tape(values=[torch.zeros(3)]).normal((2, 3), LIKE)
