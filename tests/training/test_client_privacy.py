"""Epsilon of every client is that of an accountant which is stepped for each round that the client is asked for."""

from dataclasses import replace

import pytest
from opacus.accountants import PRVAccountant
from tiny_job import RECIPE, job

from leakward.defenses import ATS, DPSGD, CentralDP, GaussianNoise, LocalDP
from leakward.federated import Chain, LocalTraining
from leakward.training import ModelSettings, client_privacy, sites

EPOCHS = 4


def privacy(made, delta=1e-5):
    return client_privacy(sites.load(made.data), made, delta)


def stepped(noise, rate, rounds):
    accountant = PRVAccountant()
    for _ in range(rounds):
        accountant.step(noise_multiplier=noise, sample_rate=rate)
    return accountant.get_epsilon(1e-5)


@pytest.fixture
def made(data):
    """Clients with unequal shares, of which some are asked in each round."""
    recipe = replace(RECIPE, epochs=EPOCHS, minibatch=1)
    federation = {"images": 3, "rounds": 6, "fraction": 0.5}
    return job(data, clients=4, alpha=0.5, recipe=recipe, defense=DPSGD(noise_multiplier=2.0), **federation)


def test_epsilon_is_that_of_the_rounds_and_images_of_each_client(made):
    found = privacy(made)
    shares = sites.shares(sites.load(made.data), made.data)
    asked = [client for number in range(1, 7) for client in sites.chosen(made, number)]
    assert [one.client for one in found] == [0, 1, 2, 3]
    assert [one.images for one in found] == [len(share) for share in shares]
    assert [one.rounds for one in found] == [asked.count(client) for client in range(4)]
    assert len({(one.images, one.rounds) for one in found}) > 1
    for one in found:
        assert one.agreed == 3
        expected = stepped(2.0, 1 / one.images, one.rounds * EPOCHS * 3) if one.rounds else 0.0
        assert one.guarantee.epsilon == pytest.approx(expected, rel=1e-6)
        assert one.guarantee.delta == 1e-5


def test_one_who_is_never_asked_gives_nothing_away(made):
    found = privacy(replace(made, federation=replace(made.federation, rounds=1, fraction=0.01)))
    assert sorted(one.rounds for one in found) == [0, 0, 0, 1]
    assert [one.guarantee.epsilon > 0 for one in found] == [one.rounds > 0 for one in found]


def test_the_noise_on_a_message_counts_once_a_round(made):
    found = privacy(replace(made, defense=LocalDP(noise_multiplier=8.0)))
    for one in found:
        rate = 1 - (1 - 1 / one.images) ** (EPOCHS * 3)
        expected = stepped(4.0, rate, one.rounds) if one.rounds else 0.0
        assert one.guarantee.epsilon == pytest.approx(expected, rel=1e-6)


UNPROVEN = [GaussianNoise(), CentralDP(), DPSGD(noise_multiplier=0.0), Chain((ATS(candidates=2), DPSGD()))]


@pytest.mark.parametrize("defense", UNPROVEN, ids=str)
def test_nothing_is_stated_where_nothing_is_proven(data, defense):
    assert [one.guarantee for one in privacy(job(data, clients=2, defense=defense))] == [None, None]


def test_nothing_is_stated_where_running_statistics_are_sent(data):
    made = replace(
        job(data, clients=1, defense=LocalDP(noise_multiplier=20.0)), model=ModelSettings("tiny_job:normalised")
    )
    [kept] = privacy(made)
    [sent] = privacy(replace(made, recipe=LocalTraining("update", mode="train")))
    assert kept.guarantee is not None
    assert sent.guarantee is None
