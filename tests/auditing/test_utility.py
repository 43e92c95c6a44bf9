"""Utility is measured by a training that is an ordinary one where no defence is on."""

from dataclasses import replace

import pytest
import tiny_site
import torch
from opacus.accountants import PRVAccountant
from torch.func import functional_call
from torch.nn import functional as F
from torch.testing import assert_close

from leakward.auditing import audit, make_plan, trainings
from leakward.auditing.reader import Reader
from leakward.auditing.site import open_site
from leakward.auditing.utility import guarantee, train
from leakward.defenses import ATS, DPSGD, CentralDP
from leakward.federated import Chain, Defense, NoDefense, client_round
from leakward.models import build_task
from leakward.streams import stream


def silent(fraction):
    del fraction


def make(data, **utility):
    plan = make_plan(tiny_site.plan(data, utility={"epochs": 3, **utility}))
    return plan, open_site(plan, torch.device("cpu"))


def double(site):
    """Do all arithmetic in double precision, so that only a wrong formula can differ."""

    class Double(type(site)):
        def initial_state(self, seed):
            return {name: value.double() for name, value in super().initial_state(seed).items()}

    fields = {name: getattr(site, name) for name in site.__dataclass_fields__}
    images = replace(site.data, images=site.data.images.double())
    return Double(**fields | {"data": images})


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_without_a_defence_it_is_the_loop_of_a_textbook(data, optimizer):
    plan, site = make(data, optimizer=optimizer, learning_rate=0.01, batch_size=20)
    site = double(site)
    found = train(plan, site, NoDefense(), 0, silent)

    module = build_task(site.task.spec).model.double()
    module.load_state_dict(site.initial_state(0))
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    steps = kinds[optimizer](module.parameters(), lr=0.01)
    images, labels = site.data.subset("train")
    order = stream("order", 0)
    for _ in range(3):
        for index in torch.randperm(len(images), generator=order).split(20):
            steps.zero_grad()
            F.cross_entropy(module((images[index] - 0.5) / 0.5), labels[index]).backward()
            steps.step()
    assert_close(found.state, dict(module.state_dict()), rtol=1e-9, atol=1e-12)

    tests, truth = site.data.subset("test")
    right = module((tests - 0.5) / 0.5).argmax(1) == truth
    assert found.scores[-1].accuracy == pytest.approx(float(right.double().mean()))
    assert len(found.scores) == 3
    assert guarantee(plan, site, NoDefense()) is None


def test_it_learns_what_can_be_learned(data):
    plan, site = make(data, epochs=15, learning_rate=0.01)
    found = train(plan, site, NoDefense(), 0, silent)
    assert found.scores[-1].accuracy > 0.8, "chance is 0.5"


def test_equal_seeds_train_equally_and_others_do_not(data):
    plan, site = make(data, epochs=1)
    one, two, other = (train(plan, site, DPSGD(), seed, silent) for seed in (0, 0, 1))
    assert_close(one.state, two.state, rtol=0, atol=0)
    assert one.scores == two.scores
    assert any(not torch.equal(one.state[n], other.state[n]) for n in one.state)


@pytest.mark.parametrize("defense", [DPSGD(), CentralDP(max_norm=1e6)], ids=["at the client", "at the server"])
def test_the_defence_is_on_during_training(defense, data):
    plan, site = make(data, epochs=1)
    none, noisy = (train(plan, site, one, 0, silent) for one in (NoDefense(), defense))
    assert all(not torch.equal(none.state[n], noisy.state[n]) for n in none.state)


@pytest.mark.parametrize("defense", [DPSGD(), NoDefense()], ids=["with a proof", "without"])
def test_steps_are_poisson_samples_where_there_is_a_proof(defense, data, monkeypatch):
    taken = []

    def noted(*arguments):
        sample = arguments[-1]
        taken.append((len(arguments[2]), sample and (len(sample.steps[0]), sample.size, sample.images)))
        return client_round(*arguments)

    monkeypatch.setattr("leakward.auditing.utility.client_round", noted)
    plan, site = make(data, epochs=4, batch_size=20)
    train(plan, site, defense, 0, silent)
    if defense == NoDefense():
        assert taken == 4 * [(20, None), (20, None), (8, None)]
    else:
        assert [(count, sample[1:]) for count, sample in taken] == 4 * 3 * [(48, (20.0, 20))]
        assert len({sample[0] for _, sample in taken}) > 3


def test_epsilon_is_that_of_opacus(data, tmp_path):
    plan, site = make(data, epochs=2, batch_size=16, delta=1e-4)
    proven = guarantee(plan, site, DPSGD(noise_multiplier=1.5))
    assert guarantee(plan, site, Chain((ATS(candidates=2), DPSGD()))) is None, "fitted on the images"
    accountant = PRVAccountant()
    for _ in range(2 * 3):
        accountant.step(noise_multiplier=1.5, sample_rate=16 / 48)
    assert proven.epsilon == pytest.approx(accountant.get_epsilon(1e-4), rel=1e-3)
    assert proven.delta == 1e-4

    dp = {"name": "dp-sgd", "noise_multiplier": 1.5}
    tables = tiny_site.plan(data, attack=[{"name": "analytic-linear"}], defense=[dp])
    tables["utility"] = {"epochs": 2, "batch_size": 16, "delta": 1e-4}
    _, _, utility = tiny_site.tables(audit(tables, tmp_path))
    of = utility.groupby("defense")["epsilon"]
    assert of.get_group("dp-sgd(noise_multiplier=1.5)").tolist() == [proven.epsilon] * 2
    assert of.get_group("none").isna().all()


def test_a_training_that_diverges_ends_with_its_last_finite_model(data):
    plan, site = make(data, epochs=4, optimizer="sgd", learning_rate=1e30)
    found = train(plan, site, NoDefense(), 0, silent)
    assert found.diverged is not None
    assert len(found.scores) == found.diverged - 1
    assert all(torch.isfinite(value).all() for value in found.state.values())


def test_at_most_so_many_images_are_trained_on(data):
    plan, site = make(data, epochs=1, batch_size=64, train_images=5)
    fractions = []
    train(plan, site, DPSGD(), 0, fractions.append)
    assert fractions == [1.0]
    full = DPSGD().guarantee(1.0, 1, plan.utility.delta)
    assert guarantee(plan, site, DPSGD()) == full, "all 5 images are in the only step"


def test_testing_draws_nothing_and_has_no_order(data):
    _, site = make(data)
    state = site.initial_state(0)
    before = torch.get_rng_state()
    images, _ = site.data.subset("test")
    predict = Reader(site.task, state).classes
    one, two = (predict(images) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(predict(images.flip(0)), one.flip(0))
    logits = functional_call(site.task.model, state, (site.task.normalize(images),))
    assert torch.equal(one, logits.argmax(1))


def test_a_filter_of_whole_weights_takes_the_gradient_for_a_step_of_the_recipe(data):
    rates = []

    class Weighing(Defense):
        def on_reply(self, reply, private, tape):
            rates.append(reply.rate)
            return super().on_reply(reply, private, tape)

    recipe = {"share": "gradient", "learning_rate": 0.37}
    plan = make_plan(tiny_site.plan(data, utility={"epochs": 1}, recipe=recipe))
    train(plan, open_site(plan, torch.device("cpu")), Weighing(), 0, silent)
    assert set(rates) == {0.37}


def test_a_training_is_named_once_and_not_at_every_step(data, tmp_path, monkeypatch):
    named = []
    real = trainings.training_id

    def counted(*arguments):
        named.append(arguments[1])
        return real(*arguments)

    monkeypatch.setattr(trainings, "training_id", counted)
    plan = make_plan(tiny_site.plan(data, attack=[{"name": "analytic-linear"}]))
    audit(plan, tmp_path / "run")
    assert named == [*plan.defenses]
