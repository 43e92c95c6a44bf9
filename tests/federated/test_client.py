"""The simulator against PyTorch's own modules, gradients and optimisers; its purity; and its derivatives."""

import copy
from dataclasses import dataclass, replace

import pytest
import tiny_networks as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad_and_value, jacrev, vmap
from torch.nn import functional as F
from torch.testing import assert_close

from leakward.errors import DefenseError, ModelError
from leakward.federated import Defense, LocalTraining, NoDefense, client_round, client_update
from leakward.federated.defense import Step
from leakward.models import LatentNoise, Task, TaskSpec, build_task
from leakward.tape import Tape
from leakward.types import Tensors, generator

EXACT = {"rtol": 1e-10, "atol": 1e-13}
NETWORKS = [tiny.plain, tiny.normalised, tiny.frozen, tiny.instance_normalised]
MODES = ["eval", "train"]
TWO_STEPS = LocalTraining(share="update", batch_images=4, minibatch=2, learning_rate=0.1, momentum=0.5)
RECIPES = {
    "gradient": LocalTraining(batch_images=4),
    "gradient-train": LocalTraining(batch_images=4, mode="train"),
    "sgd": TWO_STEPS,
    "sgd-train": replace(TWO_STEPS, mode="train"),
    "adam": replace(TWO_STEPS, optimizer="adam", weight_decay=0.1),
    "adam-train": replace(TWO_STEPS, optimizer="adam", mode="train"),
}


def update(task, state, images, labels, recipe, defense=None, tape=None):
    return client_update(task, state, images, labels, recipe, defense or NoDefense(), tape or Tape())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factory", NETWORKS)
def test_gradient_is_that_of_autograd(factory, mode):
    task, state = tiny.make(factory)
    images, labels = tiny.draw_batch(5)
    module = tiny.load_module(factory, state).train(mode == "train")
    F.cross_entropy(module(images), labels).backward()
    expected = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}

    got = update(task, state, images, labels, LocalTraining(batch_images=5, mode=mode))

    assert_close(got.tensors, expected, **EXACT)
    assert (got.share, got.images) == ("gradient", 5)
    after = {name: value for name, value in module.state_dict().items() if name not in expected}
    assert_close(got.buffers, after if mode == "train" else {}, **EXACT)


@settings(deadline=None, max_examples=40)
@given(
    factory=st.sampled_from(NETWORKS),
    recipe=st.builds(
        dict,
        share=st.just("update"),
        batch_images=st.integers(1, 7),
        epochs=st.integers(1, 3),
        minibatch=st.integers(0, 8),
        optimizer=st.sampled_from(["sgd", "adam"]),
        learning_rate=st.floats(1e-3, 0.3),
        momentum=st.sampled_from([0.0, 0.5, 0.9]),
        weight_decay=st.sampled_from([0.0, 0.01, 0.3]),
        mode=st.sampled_from(MODES),
    ),
    seed=st.integers(0, 99),
)
def test_update_is_that_of_torch_optim(factory, recipe, seed):
    recipe = LocalTraining(**recipe)
    task, state = tiny.make(factory, seed)
    images, labels = tiny.draw_batch(recipe.batch_images, seed + 1)
    module = tiny.load_module(factory, state)
    last = len(images) % recipe.minibatch if recipe.minibatch else len(images)
    if factory is tiny.normalised and recipe.mode == "train" and (last == 1 or recipe.minibatch == 1):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            tiny.train_module(module, images, labels, recipe)
        with pytest.raises(ModelError, match="more than one value per channel"):
            update(task, state, images, labels, recipe)
        return
    tiny.train_module(module, images, labels, recipe)
    after = module.state_dict()

    got = update(task, state, images, labels, recipe)

    expected = {name: state[name] - after[name] for name in task.parameter_names}
    assert_close(got.tensors, expected, **EXACT)
    shared = {name: value for name, value in after.items() if name not in expected}
    assert_close(got.buffers, shared if recipe.mode == "train" else {}, **EXACT)
    assert (got.share, got.images) == ("update", recipe.batch_images)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("factory", NETWORKS)
def test_shuffled_epochs_are_those_of_torch_optim(factory, recipe):
    recipe = replace(recipe, share="update", batch_images=5, epochs=3, minibatch=3, shuffle=True)
    task, state = tiny.make(factory)
    images, labels = tiny.draw_batch(5)
    tape = Tape(generator(3))
    got = update(task, state, images, labels, recipe, tape=tape)

    module = tiny.load_module(factory, state)
    tiny.train_module(module, images, labels, recipe, [value.argsort() for value in tape.values])
    after = module.state_dict()
    expected = {name: state[name] - after[name] for name in task.parameter_names}
    assert_close(got.tensors, expected, **EXACT)
    shared = {name: value for name, value in after.items() if name not in expected}
    assert_close(got.buffers, shared if recipe.mode == "train" else {}, **EXACT)

    in_order = update(task, state, images, labels, replace(recipe, shuffle=False)).tensors
    assert any(not torch.allclose(in_order[name], value, rtol=1e-6) for name, value in expected.items())
    replayed = update(task, state, images, labels, recipe, tape=Tape(values=tape.values)).tensors
    assert_close(replayed, got.tensors, rtol=0, atol=0)


def test_orders_side_by_side_are_orders_one_by_one():
    task, state = tiny.make(tiny.plain)
    images, labels = tiny.draw_batch(5)
    recipe = LocalTraining(share="update", batch_images=5, epochs=2, minibatch=2, shuffle=True, learning_rate=0.1)
    draws = torch.rand(4, 2, 5, generator=generator(3))

    def sent(values):
        return update(task, state, images, labels, recipe, tape=Tape(values=list(values))).tensors

    together = vmap(sent)(draws)
    for i, values in enumerate(draws):
        assert_close({name: value[i] for name, value in together.items()}, sent(values), **EXACT)


def test_one_gradient_of_the_whole_batch_needs_no_order():
    task, state = tiny.make(tiny.plain)
    tape = Tape(generator(0))
    update(task, state, *tiny.draw_batch(4), LocalTraining(batch_images=4, shuffle=True), tape=tape)
    assert tape.draws == []


def test_update_has_the_sign_of_a_gradient():
    task, state = tiny.make(tiny.plain)
    batch = tiny.draw_batch(3)
    gradient = update(task, state, *batch, LocalTraining(batch_images=3)).tensors
    step = update(task, state, *batch, LocalTraining(share="update", batch_images=3, learning_rate=0.5)).tensors
    assert_close(step, {name: 0.5 * value for name, value in gradient.items()}, **EXACT)


def test_every_local_step_in_train_mode_is_counted():
    task, state = tiny.make(tiny.normalised)
    recipe = LocalTraining(share="update", batch_images=5, epochs=2, minibatch=3, mode="train")
    buffers = update(task, state, *tiny.draw_batch(5), recipe).buffers
    counters = {name: int(value) for name, value in buffers.items() if name.endswith("num_batches_tracked")}
    assert counters == {"1.num_batches_tracked": 7 + 4, "5.num_batches_tracked": 7 + 4}
    assert set(buffers) == set(state) - set(task.parameter_names)


def test_only_trained_parameters_are_sent():
    task, state = tiny.make(tiny.frozen)
    got = update(task, state, *tiny.draw_batch(2), LocalTraining(batch_images=2))
    assert set(got.tensors) == {"predictor.1.weight", "predictor.1.bias"}


def test_labels_may_be_probabilities():
    task, state = tiny.make(tiny.plain)
    images, labels = tiny.draw_batch(3)
    soft = F.one_hot(labels, tiny.CLASSES).double()
    recipe = RECIPES["sgd"]
    hard = update(task, state, images, labels, recipe).tensors
    assert_close(update(task, state, images, soft, recipe).tensors, hard, **EXACT)
    even = torch.full_like(soft, 1 / tiny.CLASSES)
    assert not torch.allclose(
        update(task, state, images, even, recipe).tensors["predictor.1.bias"], hard["predictor.1.bias"]
    )


@pytest.mark.parametrize("factory", [tiny.normalised, tiny.instance_normalised])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_nothing_that_is_given_changes(factory, recipe):
    task, state = tiny.make(factory)
    images, labels = tiny.draw_batch(4)
    given_before = copy.deepcopy((state, images, labels, dict(task.model.state_dict())))
    random_before = torch.get_rng_state()

    first = update(task, state, images, labels, recipe)
    again = update(task, state, images, labels, recipe)

    assert_close((state, images, labels, dict(task.model.state_dict())), given_before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_before)
    assert_close((again.tensors, again.buffers), (first.tensors, first.buffers), rtol=0, atol=0)


def test_dropout_is_refused_where_it_would_be_random():
    task, state = tiny.make(tiny.dropping)
    batch = tiny.draw_batch(2)
    assert update(task, state, *batch, LocalTraining(batch_images=2)).tensors
    with pytest.raises(ModelError, match=r"expected no dropout in train mode, got layer '1' with p=0\.5; .*eval"):
        update(task, state, *batch, LocalTraining(batch_images=2, mode="train"))


def message_and_buffers(task, state, labels, recipe, images):
    got = update(task, state, images, labels, recipe)
    statistics = [value for value in got.buffers.values() if value.is_floating_point()]
    return torch.cat([value.flatten() for value in (*got.tensors.values(), *statistics)])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_message_and_statistics_can_be_differentiated_in_the_images(recipe):
    """Central differences of everything that is sent, along a random direction."""
    task, state = tiny.make(tiny.normalised)
    images, labels = tiny.draw_batch(4)
    direction = torch.randn(images.shape, generator=generator(5), dtype=torch.float64)

    def sent(pixels):
        return message_and_buffers(task, state, labels, recipe, pixels)

    step = 1e-6
    expected = (sent(images + step * direction) - sent(images - step * direction)) / (2 * step)
    jacobian = jacrev(sent)(images).flatten(1)
    assert_close(jacobian @ direction.flatten(), expected, rtol=1e-5, atol=1e-7)
    leaf = images.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(sent(leaf) @ expected, leaf)  # published attacks use autograd
    assert_close(by_autograd.flatten(), expected @ jacobian, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("factory", [tiny.plain, tiny.normalised])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_vmap_over_candidates_is_the_loop(factory, recipe):
    task, state = tiny.make(factory)
    labels = tiny.draw_batch(4)[1]
    candidates = torch.stack([tiny.draw_batch(4, seed)[0] for seed in range(3)])

    def sent(images):
        got = update(task, state, images, labels, recipe)
        return got.tensors, got.buffers

    together = vmap(sent)(candidates)
    for trial, images in enumerate(candidates):
        alone = sent(images)
        picked = tuple({name: value[trial] for name, value in part.items()} for part in together)
        assert_close(picked, alone, **EXACT)


@dataclass(frozen=True)
class PerImage(Defense):
    """Does nothing but ask for per-image gradients."""

    @property
    def per_example(self) -> bool:
        return True


@pytest.mark.parametrize("recipe", [RECIPES["gradient"], RECIPES["sgd"], RECIPES["adam"]])
@pytest.mark.parametrize("factory", [tiny.plain, tiny.normalised])
def test_mean_of_per_image_gradients_is_the_gradient(factory, recipe):
    task, state = tiny.make(factory)
    batch = tiny.draw_batch(4)
    assert_close(
        update(task, state, *batch, recipe, PerImage()).tensors, update(task, state, *batch, recipe).tensors, **EXACT
    )


@dataclass(frozen=True)
class Loudest(PerImage):
    """Send the gradient of the image whose gradient is longest in the class biases."""

    def on_example_gradients(self, gradients: Tensors, images: float, tape: Tape) -> Tensors:
        longest = gradients["predictor.1.bias"].norm(dim=1).argmax()
        return {name: value[longest] for name, value in gradients.items()}


def test_per_image_gradients_are_those_of_single_images():
    task, state = tiny.make(tiny.plain)
    images, labels = tiny.draw_batch(4)
    alone = [
        update(task, state, images[i : i + 1], labels[i : i + 1], LocalTraining()).tensors for i in range(len(images))
    ]
    longest = max(alone, key=lambda gradient: gradient["predictor.1.bias"].norm())
    assert_close(update(task, state, images, labels, RECIPES["gradient"], Loudest()).tensors, longest, **EXACT)


def test_per_image_gradients_through_train_mode_batchnorm_are_refused():
    task, state = tiny.make(tiny.normalised)
    with pytest.raises(DefenseError, match="images do not mix, got BatchNorm in train mode; use mode = 'eval'"):
        update(task, state, *tiny.draw_batch(4), RECIPES["gradient-train"], PerImage())


@dataclass(frozen=True)
class Noisy(Defense):
    """Draw at every place where a defence can draw, in every step."""

    def on_task(self, task: Task) -> Task:
        latent = torch.full((3, 3, 3), 0.1)
        return replace(task, latent=LatentNoise(latent, 5 * latent))

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        return {"helper": tape.uniform((2,), state["predictor.1.bias"])}

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        return replace(step, images=step.images + 0.1 * tape.uniform(tuple(step.images.shape), step.images))

    def on_gradient(self, task: Task, parameters: Tensors, step: Step, gradient: Tensors, tape: Tape) -> Tensors:
        return {name: value + tape.normal(tuple(value.shape), value) for name, value in gradient.items()}

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        return {name: value + tape.normal(tuple(value.shape), value) for name, value in message.items()}, private


@dataclass(frozen=True)
class NoisyPerImage(Noisy):
    """The same, through per-image gradients."""

    @property
    def per_example(self) -> bool:
        return True


@pytest.mark.parametrize("defense", [Noisy(), NoisyPerImage()])
@pytest.mark.parametrize("recipe", [RECIPES["gradient"], RECIPES["adam"]])
def test_recorded_randomness_replays_the_same_message(recipe, defense):
    task, state = tiny.make(tiny.plain)
    batch = tiny.draw_batch(4)
    live = Tape(generator(3))
    random_before = torch.get_rng_state()
    sent = update(task, state, *batch, recipe, defense, live).tensors

    replay = Tape(values=list(live.values))
    assert_close(update(task, state, *batch, recipe, defense, replay).tensors, sent, rtol=0, atol=0)
    assert replay.draws == live.draws
    same_seed = update(task, state, *batch, recipe, defense, Tape(generator(3))).tensors
    assert_close(same_seed, sent, rtol=0, atol=0)
    other_seed = update(task, state, *batch, recipe, defense, Tape(generator(4))).tensors
    assert all(not torch.allclose(other_seed[name], sent[name]) for name in sent)
    assert torch.equal(torch.get_rng_state(), random_before)
    with pytest.raises(ValueError, match="asks for value"):
        update(task, state, *batch, recipe, defense, Tape(values=live.values[:-1]))


def test_latent_noise_is_drawn_for_every_image():
    task, state = tiny.make(tiny.plain)
    latent = torch.zeros(3, 3, 3)
    task = replace(task, latent=LatentNoise(latent + 0.2, latent + 0.5))
    images, labels = tiny.draw_batch(4)
    tape = Tape(generator(3))
    got = update(task, state, images, labels, RECIPES["gradient"], tape=tape).tensors
    (noise,) = tape.values
    assert noise.shape == (4, 3, 3, 3)

    module = tiny.load_module(tiny.plain, state)
    logits = module.predictor(module.encoder(images) + 0.2 + 0.5 * noise)
    F.cross_entropy(logits, labels).backward()
    assert_close(got, {name: p.grad for name, p in module.named_parameters()}, rtol=1e-6, atol=1e-9)


@dataclass(frozen=True)
class Helper(Defense):
    """Keep a number at the client, move it in each local step, and scale the loss with it."""

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        return {"scale": torch.ones(())}

    def on_step(self, task, parameters, step, tape):
        return replace(step, private={"scale": step.private["scale"] + 1})

    def on_objective(self, task, objective):
        def scaled(parameters, step):
            loss, buffers = objective(parameters, step)
            return step.private["scale"] * loss, buffers

        return scaled


def test_private_helpers_move_before_each_step_and_stay_with_the_client():
    task, state = tiny.make(tiny.plain)
    batch = tiny.draw_batch(4)
    undefended = update(task, state, *batch, RECIPES["gradient"]).tensors

    first = client_round(task, state, *batch, RECIPES["gradient"], Helper(), Tape())
    assert_close(first.update.tensors, {n: 2 * v for n, v in undefended.items()}, **EXACT)
    assert "scale" not in first.update.tensors | first.update.buffers
    second = client_round(task, state, *batch, RECIPES["gradient"], Helper(), Tape(), first.private)
    assert_close(second.update.tensors, {n: 3 * v for n, v in undefended.items()}, **EXACT)

    two_steps = client_round(task, state, *batch, TWO_STEPS, Helper(), Tape())
    assert two_steps.private["scale"] == 3


def fields(name: str) -> str:
    for short, long in (("_w", ".weight"), ("_b", ".bias")):
        name = name.removesuffix(short) + long if name.endswith(short) else name
    return name


def stored(values, prefix: str, names) -> Tensors:
    found = {fields(key.removeprefix(prefix)): value for key, value in values.items() if key.startswith(prefix)}
    return {name: torch.from_numpy(found[name]) for name in names}


@pytest.fixture(params=["plain", "bn"])
def golden(request, reference):
    """One of the two networks of the reference values: its name, the values, task, state, images and labels."""
    net, values = request.param, reference("inverting_gradients")
    spec = TaskSpec("tiny_networks:reference_network", (3, 8, 8), 5, {"batchnorm": net == "bn"})
    task = build_task(spec)
    state = stored(values, f"{net}_", task.parameter_names)
    if net == "bn":
        state["bn.running_mean"] = torch.from_numpy(values["bn_running_mean"])
        state["bn.running_var"] = torch.from_numpy(values["bn_running_var"])
        state["bn.num_batches_tracked"] = torch.tensor(0)
    images, labels = torch.from_numpy(values["images"]), torch.from_numpy(values["labels"]).long()
    return net, values, task, state, images, labels


GOLDEN = {"rtol": 1e-9, "atol": 1e-11}


def test_published_code_gives_the_same_gradient(golden):
    net, values, task, state, images, labels = golden
    logits, _ = task.forward(state, images)
    assert_close(logits, torch.from_numpy(values[f"{net}_logits"]), **GOLDEN)
    assert_close(task.loss(logits, labels).item(), float(values[f"{net}_loss"]), **GOLDEN)
    got = update(task, state, images, labels, LocalTraining(batch_images=4)).tensors
    assert_close(got, stored(values, f"{net}_grad_", task.parameter_names), **GOLDEN)


def five_steps(size: int) -> tuple[torch.Tensor, LocalTraining]:
    """Indices and recipe; with halves of the batch the fifth step sees the first half for the third time."""
    order = torch.arange(4) if size == 4 else torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    epochs = 5 if size == 4 else 1
    return order, LocalTraining(
        share="update", batch_images=len(order), epochs=epochs, minibatch=size, learning_rate=1e-2
    )


@pytest.mark.parametrize("size", [4, 2])
def test_published_code_gives_the_same_update(golden, size):
    net, values, task, state, images, labels = golden
    order, recipe = five_steps(size)
    got = update(task, state, images[order], labels[order], recipe).tensors
    step = stored(values, f"{net}_update_bs{size}_", task.parameter_names)
    assert_close({name: -value for name, value in got.items()}, step, **GOLDEN)
    if size == 4:
        final = {name: state[name] - got[name] for name in got}
        assert_close(final, stored(values, f"{net}_final_bs4_", task.parameter_names), **GOLDEN)


@pytest.mark.parametrize("cost", ["l2", "sim"])
@pytest.mark.parametrize("what", ["grad", "update_bs4", "update_bs2"])
def test_published_code_gives_the_same_image_gradient(golden, what, cost):
    """The derivative of a matching cost in the attacker's candidate, through all five steps."""
    net, values, task, state, images, labels = golden
    order, recipe = (torch.arange(4), LocalTraining(batch_images=4)) if what == "grad" else five_steps(int(what[-1]))

    def message(pixels):
        sent = update(task, state, pixels[order], labels[order], recipe).tensors
        return torch.cat([sent[name].flatten() for name in task.parameter_names])

    target = message(images)

    def objective(candidate):
        trial = message(candidate)
        return (trial - target).square().sum() if cost == "l2" else 1 - F.cosine_similarity(trial, target, dim=0)

    gradient, value = grad_and_value(objective)(torch.from_numpy(values["candidate"]))
    assert_close(value.item(), float(values[f"{net}_{what}_{cost}_cost"]), **GOLDEN)
    assert_close(gradient, torch.from_numpy(values[f"{net}_{what}_{cost}_dcandidate"]), rtol=1e-7, atol=1e-11)
