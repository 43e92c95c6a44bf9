"""Distances, priors and whole objectives against the authors' code, and their derivatives."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, grad_and_value, vmap
from torch.testing import assert_close

from leakward.attacks.searching.matching import cosine_distance, squared_distance
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.solvers import Adam, Problem
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.models import Task, TaskSpec
from leakward.models.batchnorm import replace_batchnorm
from leakward.tape import Tape
from leakward.types import generator

GRADIENT = LocalTraining()
GOLDEN = {"rtol": 1e-9, "atol": 1e-11}
DISTANCES = {"sim": cosine_distance, "l2": squared_distance}
WEIGHTS = {"equal": lambda i: 1.0, "linear": lambda i: (5 - i) / 5, "exp": lambda i: torch.e**-i}


def message(values, name):
    return {str(i): torch.from_numpy(values[f"{name}_{i}"]) for i in range(5)}


def constant(like, factor):
    return {name: torch.full_like(value, factor(int(name))) for name, value in like.items()}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", DISTANCES)
def test_published_code_gives_the_same_weighted_distance(kind, weights, reference):
    values = reference("inverting_gradients")
    target, trial = message(values, "target"), message(values, "trial")
    found = DISTANCES[kind](trial, target, constant(target, WEIGHTS[weights]))
    assert_close(found.item(), float(values[f"cost_{kind}_{weights}"]), **GOLDEN)
    if weights == "equal":
        assert_close(DISTANCES[kind](trial, target), found, rtol=0, atol=0)


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_weight_of_0_leaves_a_tensor_out(kind, reference):
    values = reference("inverting_gradients")
    target, trial = message(values, "target"), message(values, "trial")
    trial["4"] = trial["4"] + 100
    found = DISTANCES[kind](trial, target, constant(target, lambda i: float(i < 4)))
    assert_close(found.item(), float(values[f"cost_{kind}_equal_first4"]), **GOLDEN)


@pytest.mark.parametrize("kind", DISTANCES)
def test_published_code_gives_the_same_derivative(kind, reference):
    values = reference("inverting_gradients")
    found = grad(DISTANCES[kind])(message(values, "trial"), message(values, "target"))
    assert_close(found, {name: torch.from_numpy(values[f"dcost_{kind}_{name}"]) for name in found}, **GOLDEN)


def test_published_code_gives_the_same_total_variation(reference):
    values = reference("inverting_gradients")
    images = torch.from_numpy(values["tv_images"])
    gradient, value = grad_and_value(total_variation)(images)
    assert_close(value.item(), float(values["tv_value"]), **GOLDEN)
    assert_close(gradient, torch.from_numpy(values["tv_grad"]), **GOLDEN)
    alone = vmap(total_variation)(images[:, None])
    assert_close(
        alone, torch.tensor([float(values[f"tv_value_image{i}"]) for i in (0, 1)], dtype=torch.float64), **GOLDEN
    )


def vectors(seed=0):
    rng = generator(seed)
    return tuple(torch.randn(size, generator=rng, dtype=torch.float64, requires_grad=True) for size in (5, 3))


@pytest.mark.parametrize("kind", DISTANCES)
def test_derivatives_of_distances(kind):
    target, weight = ({"a": v[0].detach(), "b": v[1].detach()} for v in (vectors(1), vectors(2)))
    weight = {name: value.sigmoid() for name, value in weight.items()}

    def distance(a, b):
        return DISTANCES[kind]({"a": a, "b": b}, target, weight)

    assert gradcheck(distance, vectors())
    assert gradgradcheck(distance, vectors())


def test_derivatives_of_total_variation():
    images = torch.rand(2, 1, 4, 3, generator=generator(0), dtype=torch.float64, requires_grad=True)
    assert gradcheck(total_variation, images)
    assert gradgradcheck(total_variation, images)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silent_messages_have_a_finite_derivative(kind, dtype):
    loud = {"a": torch.tensor([1.0, -2.0], dtype=dtype)}
    silent = {"a": torch.zeros(2, dtype=dtype)}
    for found, target in ((silent, loud), (loud, silent), (silent, silent)):
        gradient, value = grad_and_value(DISTANCES[kind])(found, target)
        assert torch.isfinite(gradient["a"]).all()
        if kind == "sim":
            assert value == 1
    assert DISTANCES[kind](silent, silent) == (1 if kind == "sim" else 0)


def test_the_derivative_of_total_variation_is_0_on_flat_images():
    assert_close(grad(total_variation)(torch.full((1, 1, 3, 3), 0.5)), torch.zeros(1, 1, 3, 3))


def test_cosine_distance_sees_direction_only():
    a, b = vectors()
    found = {"a": a.detach()}
    assert_close(cosine_distance({"a": 7 * a}, found).item(), 0.0, rtol=0, atol=1e-15)
    assert_close(cosine_distance({"a": -a}, found).item(), 2.0)
    assert squared_distance({"a": b + 1}, {"a": b}).item() == pytest.approx(len(b))


def network(batchnorm):
    """The network of the reference values, with their names."""
    layers = OrderedDict(conv1=nn.Conv2d(3, 4, 3, stride=2, padding=1))
    if batchnorm:
        layers["bn"] = nn.BatchNorm2d(4)
    layers |= OrderedDict(
        sigmoid1=nn.Sigmoid(),
        conv2=nn.Conv2d(4, 4, 3, stride=2, padding=1),
        sigmoid2=nn.Sigmoid(),
        flatten=nn.Flatten(),
        fc=nn.Linear(16, 5),
    )
    model = nn.Sequential(layers)
    replace_batchnorm(model)
    return Task(TaskSpec("reference", (3, 8, 8), 5), model)


@pytest.fixture(params=["plain", "bn"])
def golden(request, reference):
    """One of the two networks: its name, the values, and the message of images under a recipe."""
    net, values = request.param, reference("inverting_gradients")
    task = network(net == "bn")
    short = {name: name.replace(".weight", "_w").replace(".bias", "_b") for name in task.parameter_names}
    state = {name: torch.from_numpy(values[f"{net}_{key}"]) for name, key in short.items()}
    if net == "bn":
        state |= {f"bn.running_{what}": torch.from_numpy(values[f"bn_running_{what}"]) for what in ("mean", "var")}
        state["bn.num_batches_tracked"] = torch.tensor(0)
    labels = torch.from_numpy(values["labels"]).long()

    def send(images, order=slice(None), recipe=GRADIENT):
        return client_update(task, state, images[order], labels[order], recipe, NoDefense(), Tape()).tensors

    return net, values, send


def five_steps(size):
    """Indices and recipe; with halves of the batch the fifth step sees the first half for the third time."""
    order = torch.arange(4) if size == 4 else torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    return order, LocalTraining(share="update", epochs=5 if size == 4 else 1, minibatch=size, learning_rate=1e-2)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("what", ["grad", "update_bs4", "update_bs2"])
def test_published_code_gives_the_same_cost_and_image_gradient(golden, what, kind):
    """Through all five local steps, where there are several."""
    net, values, send = golden
    client = (slice(None), LocalTraining()) if what == "grad" else five_steps(int(what[-1]))
    target = send(torch.from_numpy(values["images"]), *client)

    def objective(candidate):
        return DISTANCES[kind](send(candidate, *client), target)

    gradient, value = grad_and_value(objective)(torch.from_numpy(values["candidate"]))
    assert_close(value.item(), float(values[f"{net}_{what}_{kind}_cost"]), **GOLDEN)
    assert_close(gradient, torch.from_numpy(values[f"{net}_{what}_{kind}_dcandidate"]), rtol=1e-7, atol=1e-11)


def attack(golden):
    """Return the authors' closure as a problem of one trial."""
    _, values, send = golden
    victims = {"message": {name: value[None] for name, value in send(torch.from_numpy(values["images"])).items()}}

    def objective(candidate, victim, draws):
        images = candidate["images"]
        return cosine_distance(send(images), victim["message"]) + 1e-2 * total_variation(images)

    return Problem(objective, {"images": torch.from_numpy(values["candidate"])[None]}, victims, box=("images",))


def test_published_code_gives_the_same_objective(golden):
    net, values, _ = golden
    problem = attack(golden)
    one = {name: value[0] for name, value in problem.victims["message"].items()}
    found = grad_and_value(problem.objective)({"images": problem.start["images"][0]}, {"message": one}, ())
    assert_close(found[1].item(), float(values[f"{net}_closure_tv1e2_value"]), **GOLDEN)
    expected = torch.from_numpy(values[f"{net}_closure_tv1e2_dcandidate"])
    assert_close(found[0]["images"], expected, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("strategy", ["loop", "vmap", "trace"])
def test_published_code_ends_24_iterations_at_the_same_images(golden, strategy):
    net, values, send = golden
    problem = attack(golden)
    solver = Adam(24, 0.1, schedule="step", signed=True)
    last = solver.solve(problem, generator(0), strategy=strategy).last["images"][0]
    assert_close(last, torch.from_numpy(values[f"{net}_trial24_images"]), rtol=0, atol=1e-8)
    score = cosine_distance(send(last), send(torch.from_numpy(values["images"])))
    assert_close(score.item(), float(values[f"{net}_trial24_score"]), rtol=1e-6, atol=0)
