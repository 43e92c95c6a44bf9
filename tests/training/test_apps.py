"""What Flower's apps compute is what a slow loop without Flower computes, whatever the order of replies."""

from dataclasses import dataclass, replace

import pytest
import torch
from flwr.app import RecordDict
from tiny_job import RECIPE, job, run
from torch.testing import assert_close

from leakward.defenses import (
    ATS,
    DPSGD,
    PRECODE,
    CentralDP,
    Clipping,
    GaussianNoise,
    LearnablePerturbation,
    LocalDP,
    TopK,
)
from leakward.errors import LeakwardError, PlanError
from leakward.federated import Chain, Defense, LocalTraining, NoDefense, client_round, poisson_sample
from leakward.models import build_task, initial_state
from leakward.streams import stream
from leakward.tape import Tape
from leakward.training import ModelSettings, helpers, sites
from leakward.training.apps import client_app
from leakward.training.client import Client
from leakward.training.evaluation import scores
from leakward.training.fitted import recall, remember
from leakward.training.records import pack


def start(made):
    data = sites.load(made.data)
    task = build_task(sites.task_spec(data, made.model))
    return data, task, initial_state(task, stream("weights", made.seed))


def update(made, state, client, number):
    """Return what the simulator says that a client sends."""
    data, task, _ = start(made)
    index = sites.shares(data, made.data)[client]
    tape = Tape(stream("round", repr(made.defense), made.seed, client, number))
    recipe, rng = made.recipe_of(client, len(index)), stream("batch", made.seed, client, number)
    sample = poisson_sample(len(index), recipe, rng) if made.defense.poisson else None
    own = data.images[index], data.labels[index]
    return client_round(task, state, *own, recipe, made.defense, tape, sample=sample).update


def equal(one, other):
    assert_close(one, other, rtol=0, atol=0)


def test_one_client_and_one_round_are_one_client_update(data):
    made = job(data, clients=1, rounds=1)
    [found] = run(made)
    _, _, state = start(made)
    sent = update(made, state, 0, 1)
    equal(found.state, {name: value - sent.tensors[name] for name, value in state.items()})


DEFENSES = [NoDefense(), GaussianNoise(std=0.01), DPSGD(), LocalDP(noise_multiplier=0.01)]


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda d: type(d).__name__)
def test_many_rounds_are_a_slow_loop_without_flower(data, defense):
    made = job(data, clients=3, rounds=3, defense=defense)
    [found] = run(made)
    whole, task, state = start(made)
    for number in (1, 2, 3):
        sent = [update(made, state, client, number).tensors for client in range(3)]
        state = {name: sum((value - one[name]) * (1 / 3) for one in sent) for name, value in state.items()}
        known = scores(task, state, *whole.subset("test"))
        assert_close(list(vars(found.rounds[number - 1].scores).values()), list(vars(known).values()))
    equal(found.state, state)
    assert [done.number for done in found.rounds] == [1, 2, 3]


def test_a_network_that_the_defence_changes_is_the_one_that_is_trained(data):
    [found] = run(job(data, clients=2, rounds=1, defense=PRECODE(size=4)))
    [plain] = run(job(data, clients=2, rounds=1))
    assert len(found.state) > len(plain.state)
    assert all(torch.isfinite(value).all() for value in found.state.values())


def test_the_server_adds_its_part_of_a_defence_to_the_mean(data):
    """With the clipping alone the same clients send the same; what differs is the server's noise."""
    setting = {"max_norm": 0.5, "clients": 2}
    [noisy], [plain] = (
        run(job(data, clients=2, rounds=1, defense=CentralDP(noise_multiplier=noise, **setting)))
        for noise in (2.0, 0.0)
    )
    gaps = torch.cat([(noisy.state[name] - value).flatten() for name, value in plain.state.items()])
    assert 0.9 < float(gaps.std()) / (2.0 * 0.5 / 2) < 1.1


@pytest.mark.parametrize("share", ["gradient", "update"])
def test_one_step_of_equal_clients_is_the_mean_update(data, share):
    """Three clients' mean update is that of one client with all their images: gradients are means over images."""
    recipe = LocalTraining(share=share, learning_rate=0.1)
    together, alone = (job(data, clients=n, rounds=1, recipe=recipe) for n in (3, 1))
    [found], [expected] = run(together), run(alone)
    assert_close(found.state, expected.state, rtol=1e-5, atol=1e-6)
    _, _, state = start(together)
    rate = 0.1 if share == "gradient" else 1.0
    sent = [update(together, state, client, 1).tensors for client in range(3)]
    mean = {name: sum(one[name] for one in sent) / 3 for name in state}
    assert_close(found.state, {n: v - rate * mean[n] for n, v in state.items()}, rtol=1e-6, atol=1e-7)


def test_unequal_clients_count_by_their_images(data):
    made = job(data, clients=5, rounds=1)
    whole, _, state = start(made)
    sizes = [len(share) for share in sites.shares(whole, made.data)]
    assert len(set(sizes)) == 2
    [found] = run(made)
    sent = [update(made, state, client, 1).tensors for client in range(5)]
    weights = [size / sum(sizes) for size in sizes]
    equal(
        found.state, {n: sum((v - one[n]) * w for one, w in zip(sent, weights, strict=True)) for n, v in state.items()}
    )


def test_the_order_of_replies_changes_nothing(data):
    made = job(data, clients=4, rounds=3, defense=GaussianNoise(std=0.01))
    [one], [other] = run(made), run(made, order=lambda replies: replies[::-1])
    equal(one.state, other.state)
    assert [r.scores for r in one.rounds] == [r.scores for r in other.rounds]


def test_other_seeds_train_otherwise(data):
    one, other = run(job(data), job(data, seed=1))
    assert any(not torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_jobs_of_one_engine_do_not_meddle(data):
    first, second = job(data, defense=GaussianNoise(std=0.01)), job(data, clients=2, seed=3)
    together, alone = run(first, second), [*run(first), *run(second)]
    for one, other in zip(together, alone, strict=True):
        equal(one.state, other.state)


def test_an_ill_or_silent_client_is_left_out_and_counted(data):
    made = job(data, clients=3, rounds=2, timeout=0.3)
    for lost in ("ill", "silent"):
        [found] = run(made, **{lost: lambda client, number: client == 1 and number == 1})
        assert [(r.traffic.clients, r.traffic.lost) for r in found.rounds] == [(2, 1), (3, 0)]
        _, _, state = start(made)
        for number, clients in ((1, (0, 2)), (2, (0, 1, 2))):
            sent = [update(made, state, client, number).tensors for client in clients]
            state = {n: sum((v - one[n]) * (1 / len(clients)) for one in sent) for n, v in state.items()}
        equal(found.state, state)


def test_a_client_that_never_was_there_is_lost_in_every_round(data):
    [found] = run(job(data, clients=3, timeout=0.3), silent=lambda client, _: client == 2)
    assert [(r.traffic.clients, r.traffic.lost) for r in found.rounds] == [(2, 1), (2, 1)]


def test_no_client_at_all_is_an_error_with_the_first_reason(data):
    with pytest.raises(LeakwardError, match="round 2: expected an update of at least one of 2 clients, got none"):
        run(job(data, clients=2, rounds=3), ill=lambda _, number: number == 2)
    with pytest.raises(LeakwardError, match="the first error: client 0 is ill"):
        run(job(data, clients=1), ill=lambda _, number: number == 1)
    with pytest.raises(LeakwardError, match="they did not answer in time"):
        run(job(data, clients=2, timeout=0.2), silent=lambda *_: True)


@dataclass(frozen=True)
class Refusing(Defense):
    """Cannot be applied."""

    def on_recipe(self, recipe):
        raise LeakwardError("Refusing: expected anything else")


def test_a_defence_that_cannot_be_applied_sends_nothing(data):
    with pytest.raises(LeakwardError, match="the first error: Refusing: expected anything else"):
        run(job(data, defense=Refusing()))


@pytest.mark.parametrize("std", [1e20, 1e38])
def test_a_training_that_diverges_ends_with_its_last_finite_model(data, std):
    found, other = run(job(data, rounds=5, defense=GaussianNoise(std)), job(data, rounds=2))
    assert found.diverged is not None
    assert len(found.rounds) == found.diverged - 1
    assert all(torch.isfinite(value).all() for value in found.state.values())
    assert other.diverged is None
    assert len(other.rounds) == 2


@dataclass(frozen=True)
class Rash(Defense):
    """Lets clients with six images learn far too fast."""

    def on_recipe(self, recipe):
        return replace(recipe, learning_rate=1e38, epochs=3) if recipe.batch_images == 6 else recipe


def test_clients_that_diverge_are_lost_while_others_go_on(data):
    [found] = run(job(data, clients=7, defense=Rash()))
    assert found.diverged is None
    assert [done.traffic.lost for done in found.rounds] == [1, 1]


@dataclass(frozen=True)
class Rasher(Defense):
    """Lets every client learn far too fast."""

    def on_recipe(self, recipe):
        return replace(recipe, learning_rate=1e38, epochs=3)


def test_a_client_that_is_silent_has_not_diverged(data):
    made = job(data, clients=2, defense=Rasher(), timeout=0.3)
    [found] = run(made)
    assert found.diverged == 1
    with pytest.raises(LeakwardError, match="expected an update of at least one of 2 clients"):
        run(made, silent=lambda client, _: client == 1)


def test_a_fraction_of_the_clients_trains(data):
    made = job(data, clients=6, rounds=5, fraction=0.5)
    asked = []
    [found] = run(made, ill=lambda client, number: number and asked.append((number, client)))
    assert {r.traffic.clients for r in found.rounds} == {3}
    by_round = [sorted(client for at, client in asked if at == number) for number in range(1, 6)]
    assert all(len(set(clients)) == 3 for clients in by_round)
    assert len({tuple(clients) for clients in by_round}) > 2
    equal(run(made)[0].state, found.state)


def test_images_of_a_round_are_drawn_afresh_and_alike_for_every_defence(data):
    from leakward.training.client import Client

    made = job(data, clients=2, images=5)
    one, noisy = Client(made, 0), Client(replace(made, defense=GaussianNoise()), 0)
    assert len(one.batch(1)) == 5
    assert torch.equal(one.batch(1).images, noisy.batch(1).images)
    assert not torch.equal(one.batch(1).images, one.batch(2).images)
    assert len(Client(job(data, clients=2, images=999), 0).batch(1)) == 24
    [found] = run(made)
    assert len(found.rounds) == 2


@pytest.mark.parametrize("share", ["gradient", "update"])
def test_with_a_proof_the_images_of_a_round_are_a_poisson_sample(data, share):
    """Reported are those agreed, whatever number was drawn; few enough that some rounds have none."""
    from leakward.training.client import Client

    recipe = replace(RECIPE, share=share, minibatch=1)
    made = job(data, clients=2, images=2, rounds=30, recipe=recipe, defense=DPSGD())
    client = Client(made, 0)
    samples = [client.sample(number) for number in range(1, 31)]
    sizes = [sum(map(len, sample.steps)) for sample in samples]
    assert {0, 1, 2, 3} <= {*sizes}
    state = sites.start(client.data, made)[1]
    for number in (1, 1 + sizes.index(0), 1 + sizes.index(3)):
        sent = client.train(state, number, made.defense, None)
        assert sent.images == 2
        assert all(torch.isfinite(value).all() and not torch.equal(value, state[n]) for n, value in sent.state.items())
    assert Client(replace(made, defense=GaussianNoise()), 0).sample(1) is None


def test_dirichlet_clients_have_different_classes_and_all_images(data):
    made = job(data, clients=4, alpha=0.1)
    whole, _, _ = start(made)
    parts = sites.shares(whole, made.data)
    assert torch.cat(parts).sort().values.tolist() == whole.splits["train"].sort().values.tolist()
    ones = [float(whole.labels[part].float().mean()) for part in parts]
    assert max(ones) - min(ones) > 0.5
    [found] = run(made)
    assert [r.traffic.clients for r in found.rounds] == [4, 4]


def test_private_helpers_and_fitted_tensors_go_from_round_to_round(data):
    """Two rounds are those of a loop that prepares once and carries the decoder, which never leaves the client."""
    from leakward.training.client import apply_update

    defense = LearnablePerturbation(coefficient=0.1)
    made = replace(job(data, clients=1, defense=defense), model=ModelSettings("convnet", {"width": 2}))
    whole, task, state = start(made)
    images, labels = whole.subset("train")
    [found], private = run(made), None
    for number in (1, 2):
        tape = Tape(stream("round", repr(defense), 0, 0, number))
        done = client_round(task, state, images, labels, RECIPE, defense, tape, private)
        state, private = apply_update(state, done.update, RECIPE), done.private
    assert private
    equal(found.state, state)


def test_clients_write_their_helpers_for_the_rounds_that_are_kept(data, tmp_path):
    """A client that is not asked in such a round has those of the last one before it in which it trained."""
    made = replace(job(data, clients=3, defense=TopK(keep=0.5), rounds=4, fraction=0.34), kept=(2,))
    [without] = run(made)
    [found] = run(replace(made, helpers=str(tmp_path)))
    equal(found.state, without.state)
    state, private = start(made)[2], [None] * 3
    for number in range(1, 5):
        [client] = sites.chosen(made, number)
        sent = Client(made, client).train(state, number, made.defense, private[client])
        state, private[client] = sent.state, sent.private
        for other in range(3) if number in (2, 4) else ():
            kept = helpers.read(tmp_path, number, other)
            assert (kept is None) == (private[other] is None)
            equal(kept or {}, private[other] or {})
    assert any(value is not None for value in private)


LEARNED = LearnablePerturbation(noise="learned", coefficient=0.1, pretrain_epochs=1, pretrain_batch=16)
FITTED = [LEARNED, Chain((LEARNED, Clipping(max_norm=0.5))), ATS(candidates=2)]


@pytest.mark.parametrize("defense", FITTED, ids=["learned noise", "chain", "policy search"])
def test_what_a_client_fits_is_kept_as_it_is(data, defense):
    made = replace(job(data, clients=2, defense=defense), model=ModelSettings("convnet", {"width": 2}))
    client, kept = Client(made, 1), RecordDict()
    assert recall(kept, "a", defense) is None
    remember(kept, "a", client.prepare())
    found, fitted = recall(kept, "a", defense), client.prepare()
    assert found == fitted != defense
    state = start(made)[2]
    ones = [client.train(state, 1, one, None).state for one in (found, fitted)]
    equal(*ones)


def test_every_client_learns_noise_of_its_own_and_the_first_tests(data):
    """The paper's procedure: learn the noise, start the network anew, train it under the frozen noise."""
    model = ModelSettings("convnet", {"width": 2})
    made = replace(job(data, clients=2, defense=LEARNED), model=model)
    [found] = run(made)
    whole, task, state = start(made)
    privates = [None, None]
    copies = [Client(made, number).prepare() for number in range(2)]
    assert copies[0] != copies[1]
    for number in (1, 2):
        sent = [Client(made, c).train(state, number, copies[c], privates[c]) for c in range(2)]
        state = {name: value * 0.5 + sent[1].state[name] * 0.5 for name, value in sent[0].state.items()}
        privates = [one.private for one in sent]
    equal(found.state, state)
    assert found.rounds[-1].scores == scores(copies[0].on_task(task), state, *whole.subset("test"))


def test_bytes_are_those_of_the_records(data):
    made = job(data, clients=3)
    [found] = run(made)
    _, _, state = start(made)
    weights = pack(state).count_bytes()
    for done in found.rounds:
        assert 3 * weights < done.traffic.bytes_up < 3 * weights + 200
        assert 3 * weights < done.traffic.bytes_down < 3 * weights + 200
        assert done.traffic.seconds > 0


def test_batch_statistics_are_averaged_and_counters_stay(data):
    recipe = replace(RECIPE, mode="train")
    made = replace(job(data, clients=2, recipe=recipe, rounds=1), model=ModelSettings("tiny_job:normalised"))
    _, _, state = start(made)
    [found] = run(made)
    sent = [update(made, state, client, 1).buffers for client in range(2)]
    names = [name for name in state if name.endswith("running_mean")]
    equal({n: found.state[n] for n in names}, {n: sent[0][n] * 0.5 + sent[1][n] * 0.5 for n in names})
    assert found.state.keys() == state.keys()
    assert all(int(v) == 0 for n, v in found.state.items() if n.endswith("num_batches_tracked"))


STRATEGIES = {
    "FedAvgM": {"server_momentum": 0.5},
    "FedAdam": {"eta": 0.01},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0.34},
    "Krum": {"num_malicious_nodes": 1},
    "flwr.serverapp.strategy:FedAvg": {},
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_of_flower(data, name):
    made = job(data, clients=3, strategy=name, settings=STRATEGIES[name])
    [one], [other] = run(made), run(made, order=lambda replies: replies[::-1])
    equal(one.state, other.state)
    assert all(torch.isfinite(value).all() for value in one.state.values())


WRONG = [
    ({"strategy": "FedBest"}, "expected a strategy of Flower such as FedAvg"),
    ({"strategy": "Strategy"}, "expected a strategy of Flower such as FedAvg"),
    ({"strategy": "nowhere:Best"}, "expected package.module:Class on the Python path"),
    ({"settings": {"rate": 1}}, "cannot be made with settings {'rate': 1}"),
    ({"settings": {"fraction_train": 0.5}}, "use [federation] fraction"),
]


@pytest.mark.parametrize(("federation", "words"), WRONG, ids=str)
def test_wrong_strategies(data, federation, words):
    with pytest.raises(PlanError) as caught:
        run(job(data, **federation))
    assert words in str(caught.value)


def test_a_strategy_that_changes_local_training_is_refused(data):
    with pytest.raises(LeakwardError, match="got demands for proximal-mu; choose another"):
        run(job(data, strategy="FedProx", settings={"proximal_mu": 0.1}))


def test_it_learns_what_can_be_learned(data):
    [found] = run(job(data, rounds=10))
    assert found.rounds[-1].scores.accuracy > 0.9, "chance is 0.5"
    assert found.rounds[-1].scores.auc > 0.9


def test_weights_of_another_network_are_refused(data):
    one, other = job(data), replace(job(data), model=ModelSettings("mlp", {"hidden": 9}))
    with pytest.raises(LeakwardError, match="give server and clients the same"):
        run(one, app=client_app([other]))
