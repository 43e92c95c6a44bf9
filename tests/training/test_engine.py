"""The real engine: the smoke test trains what the apps train without it; the rest takes its time."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tiny_job import job, run
from torch.testing import assert_close

from leakward.errors import LeakwardError
from leakward.federated import Defense
from leakward.training.engine import train


def on_engine(*jobs):
    results, heard = {}, []
    train(jobs, results.__setitem__, lambda *news: heard.append(news))
    return [results[n] for n in range(len(jobs))], heard


def test_two_jobs_on_the_engine_are_those_without_it(data, monkeypatch):
    monkeypatch.chdir(Path(data).parent)
    first, second = job(Path(data).name, clients=2, timeout=300.0), job(data, clients=2, seed=1, timeout=300.0)
    found, heard = on_engine(first, second)
    for one, other in zip(found, run(first, second), strict=True):
        assert_close(one.state, other.state)
        assert [(r.scores, r.traffic.bytes_up) for r in one.rounds] == [
            (r.scores, r.traffic.bytes_up) for r in other.rounds
        ]
    assert [n for n, _, _ in heard] == sorted(n for n, _, _ in heard)
    assert "round 2 of 2, accuracy" in heard[-1][1]


@dataclass(frozen=True)
class Dying(Defense):
    """Takes the whole process of client 1 with it, in every round; the client is known by its number of images."""

    images: int

    def on_recipe(self, recipe):
        if recipe.batch_images == self.images:
            os._exit(1)
        return recipe


@pytest.mark.slow
def test_a_process_that_dies_loses_one_client_and_no_more(data):
    made = job(data, clients=5, rounds=2, timeout=300.0)
    [found], _ = on_engine(replace(made, defense=Dying(9)))
    assert [(r.traffic.clients, r.traffic.lost) for r in found.rounds] == [(2, 3), (2, 3)]


@pytest.mark.slow
def test_an_error_of_all_clients_ends_the_run_with_one_sentence(data):
    with pytest.raises(LeakwardError, match="got demands for proximal-mu"):
        on_engine(job(data, strategy="FedProx", settings={"proximal_mu": 0.1}, timeout=300.0))


def test_without_flower_it_says_what_to_install(data, monkeypatch):
    monkeypatch.setattr("leakward.training.engine.find_spec", lambda name: None)
    with pytest.raises(LeakwardError, match=r"install leakward\[flower\]"):
        on_engine(job(data))
