"""Several defences as one: order, the two things only one of them may have, and what the attacker undoes."""

from dataclasses import dataclass, replace

import pytest
import tiny_networks as tiny
import torch
from torch.testing import assert_close

from leakward.data.dataset import Dataset
from leakward.defenses import BiDO
from leakward.errors import DefenseError
from leakward.federated import (
    Chain,
    Defense,
    Evidence,
    Guarantee,
    LocalTraining,
    NoDefense,
    Reply,
    client_round,
    client_update,
)
from leakward.tape import Tape
from leakward.types import Tensors, generator


@dataclass(frozen=True)
class Affine(Defense):
    """Act as ``factor * x + shift`` at one hook; two of them do not commute."""

    hook: str
    factor: float
    shift: float
    trust: float = 1.0

    def _at(self, hook, value):
        return self.factor * value + self.shift if hook == self.hook else value

    def on_task(self, task):
        if self.hook != "task":
            return task
        std = task.spec.std[0] if task.spec.std else 1.0
        return replace(task, spec=replace(task.spec, mean=(0.0,), std=(self._at("task", std),)))

    def on_recipe(self, recipe):
        return replace(recipe, learning_rate=self._at("recipe", recipe.learning_rate))

    def on_step(self, task, parameters, step, tape):
        return replace(step, images=self._at("batch", step.images))

    def on_objective(self, task, objective):
        def changed(parameters, step):
            loss, buffers = objective(parameters, step)
            # a constant would vanish in the gradient
            return self._at("objective", loss) * loss if self.hook == "objective" else loss, buffers

        return changed

    def on_gradient(self, task, parameters, step, gradient, tape):
        return {name: self._at("gradient", value) for name, value in gradient.items()}

    def on_update(self, message, private, tape):
        return {name: self._at("update", value) for name, value in message.items()}, private

    def evidence(self, message: Tensors, images: int, *_) -> Evidence:
        undone = {name: (value - self.shift) / self.factor for name, value in message.items()}
        return Evidence(undone, {name: torch.full_like(value, self.trust) for name, value in message.items()})


@dataclass(frozen=True)
class Keeper(Defense):
    """Keep one private helper and count with it."""

    name: str = "count"

    @property
    def keeps_private(self):
        return True

    def start_private(self, task, state, tape):
        return {self.name: torch.zeros(())}

    def on_step(self, task, parameters, step, tape):
        return replace(step, private={self.name: step.private[self.name] + 1})

    def on_update(self, message, private, tape):
        return message, {self.name: private[self.name] + 10}


@dataclass(frozen=True)
class PerImage(Defense):
    """Turn per-image gradients into their sum."""

    @property
    def per_example(self) -> bool:
        return True

    def on_example_gradients(self, gradients, images, tape):
        return {name: value.sum(0) for name, value in gradients.items()}


@dataclass(frozen=True)
class Fitted(Defense):
    """Remember what ``prepare`` was given, and change the task for those that come after."""

    tag: str
    seen: tuple[float, ...] = ()
    drawn: float = 0.0

    def prepare(self, task, data, rng):
        return replace(self, seen=task.spec.std, drawn=float(torch.rand((), generator=rng)))

    def on_task(self, task):
        return replace(task, spec=replace(task.spec, std=(*task.spec.std, float(len(self.tag)))))


@dataclass(frozen=True)
class Installed(Defense):
    """Name what it changed in the task and in a weight."""

    factor: float

    def install(self, task, state, rng):
        task = replace(task, spec=replace(task.spec, std=(*task.spec.std, self.factor)))
        return task, {name: self.factor * value + torch.rand((), generator=rng) for name, value in state.items()}


@dataclass(frozen=True)
class Proven(Defense):
    """Prove an epsilon."""

    epsilon: float

    poisson = True

    def guarantee(self, sampling_rate, rounds, delta, steps=1):
        return Guarantee(self.epsilon * rounds * steps, delta, f"rate {sampling_rate}")

    def replay(self):
        return NoDefense()


@dataclass(frozen=True)
class Mixing(Defense):
    """Let one image change what is done to another."""

    mixes_images = True


@dataclass(frozen=True)
class Remembering(Defense):
    """Send in one round what was kept back in another."""

    carries_over = True


RECIPE = LocalTraining(share="update", batch_images=4, minibatch=2, learning_rate=0.1)
FIRST = (2.0, 0.3)
SECOND = (0.5, 0.7)


def sent(defense, recipe=RECIPE):
    task, state = tiny.make(tiny.plain)
    return client_update(task, state, *tiny.draw_batch(4), recipe, defense, Tape()).tensors


@pytest.mark.parametrize("hook", ["task", "batch", "gradient", "update"])
def test_parts_act_in_the_order_given(hook):
    both = Affine(hook, SECOND[0] * FIRST[0], SECOND[0] * FIRST[1] + SECOND[1])  # the second after the first
    first, second = Affine(hook, *FIRST), Affine(hook, *SECOND)
    assert_close(sent(Chain((first, second))), sent(both), rtol=1e-9, atol=1e-12)
    other_way = sent(Chain((second, first)))
    assert not torch.allclose(other_way["predictor.1.bias"], sent(both)["predictor.1.bias"], rtol=1e-4)


def test_parts_change_the_recipe_in_the_order_given():
    first, second = Affine("recipe", *FIRST), Affine("recipe", *SECOND)
    assert Chain((first, second)).on_recipe(RECIPE) == second.on_recipe(first.on_recipe(RECIPE))
    assert Chain((second, first)).on_recipe(RECIPE) == first.on_recipe(second.on_recipe(RECIPE))


def test_losses_wrap_in_the_order_given():
    """The loss L becomes s (f L^2 + g L)^2 for (f L + g) L inside and s L^2 outside."""
    inner, outer = Affine("objective", 2.0, 1.0), Affine("objective", 0.5, 0.0)

    class Direct(NoDefense):
        def on_objective(self, task, objective):
            def changed(parameters, step):
                loss, buffers = objective(parameters, step)
                return 0.5 * ((2 * loss + 1) * loss) ** 2, buffers

            return changed

    assert_close(sent(Chain((inner, outer))), sent(Direct()), rtol=1e-9, atol=1e-12)


def test_an_empty_chain_is_no_defense():
    assert_close(sent(Chain(())), sent(NoDefense()), rtol=0, atol=0)


def test_chains_nest():
    parts = Affine("gradient", *FIRST), Affine("update", *SECOND), Affine("gradient", *SECOND)
    assert_close(sent(Chain((Chain(parts[:2]), parts[2]))), sent(Chain(parts)), rtol=0, atol=0)


def test_one_part_may_work_on_per_image_gradients():
    chain = Chain((Affine("gradient", *FIRST), PerImage(), Affine("update", *SECOND)))
    assert chain.per_example
    recipe = LocalTraining(batch_images=4)
    expected = {n: 0.5 * (2.0 * (4 * v) + 0.3) + 0.7 for n, v in sent(NoDefense(), recipe).items()}
    assert_close(sent(chain, recipe), expected, rtol=1e-9, atol=1e-12)
    assert not Chain((Affine("gradient", *FIRST),)).per_example


@pytest.mark.parametrize("second", [PerImage(), Chain((NoDefense(), PerImage()))])
def test_two_parts_on_per_image_gradients_are_refused(second):
    with pytest.raises(DefenseError, match="at most one defence on per-image gradients, got several; keep one"):
        Chain((PerImage(), second))


@pytest.mark.parametrize("parts", [(Keeper(), NoDefense()), (NoDefense(), Keeper())])
def test_one_part_may_keep_private_helpers(parts):
    task, state = tiny.make(tiny.plain)
    result = client_round(task, state, *tiny.draw_batch(4), RECIPE, Chain(parts), Tape())
    assert {name: float(value) for name, value in result.private.items()} == {"count": 12.0}
    assert "count" not in result.update.tensors | result.update.buffers


def test_two_parts_with_private_helpers_are_refused():
    with pytest.raises(DefenseError, match="at most one defence with private helpers, got several; keep one"):
        Chain((Keeper(), Chain((NoDefense(), Keeper("other")))))


def test_comparing_images_and_looking_at_each_alone_are_refused_together():
    with pytest.raises(DefenseError, match="no defence that compares images beside one on per-image gradients"):
        Chain((BiDO(), Chain((NoDefense(), PerImage()))))


def test_each_part_is_prepared_on_the_task_the_parts_before_it_made():
    task, _ = tiny.make(tiny.plain)
    data = Dataset(
        "two",
        torch.rand(3, *tiny.SHAPE, generator=generator(0)),
        torch.tensor([0, 1, 2]),
        ("a", "b", "c"),
        {split: torch.tensor([index]) for index, split in enumerate(("train", "val", "test"))},
        "CC0",
    )
    chain = Chain((Fitted("a"), Fitted("bb"), Fitted("ccc"))).prepare(task, data, generator(1))
    assert [part.seen for part in chain.parts] == [(), (1.0,), (1.0, 2.0)]
    assert len({part.drawn for part in chain.parts}) == 3


def seen(message):
    return Reply({}, message, {}, 4, LocalTraining())


def test_evidence_undoes_the_parts_in_reverse_and_multiplies_their_trust():
    chain = Chain((Affine("update", *FIRST, trust=0.5), Affine("update", *SECOND, trust=0.4)))
    evidence = chain.interpret(seen(sent(chain)))
    assert_close(evidence.message, sent(NoDefense()), rtol=1e-9, atol=1e-12)
    assert all(torch.allclose(w, torch.full_like(w, 0.2)) for w in evidence.weight.values())
    assert set(evidence.weight) == set(evidence.message)


def test_evidence_of_nothing_is_the_message_fully_trusted():
    message = {"w": torch.tensor([1.0, -2.0])}
    for defense in (NoDefense(), Chain(())):
        evidence = defense.interpret(seen(message))
        assert torch.equal(evidence.message["w"], message["w"])
        assert torch.equal(evidence.weight["w"], torch.ones(2))


def test_the_strongest_proof_counts():
    assert Chain((NoDefense(), Affine("update", *FIRST))).guarantee(0.1, 3, 1e-5) is None
    assert Chain((Proven(2.0), NoDefense(), Proven(1.5))).guarantee(0.1, 3, 1e-5) == Guarantee(4.5, 1e-5, "rate 0.1")


def test_a_part_that_mixes_images_voids_every_proof():
    for parts in ((Proven(2.0), Mixing()), (Mixing(), Proven(2.0))):
        assert Chain(parts).guarantee(0.1, 3, 1e-5) is None
        assert not Chain(parts).poisson
    assert Chain((NoDefense(), Proven(2.0))).poisson
    assert not Chain((NoDefense(),)).poisson


def test_a_memory_of_images_voids_the_proofs_of_the_parts_behind_it():
    assert Chain((Proven(2.0), Remembering())).guarantee(0.1, 3, 1e-5) == Guarantee(6.0, 1e-5, "rate 0.1")
    assert Chain((Remembering(), Proven(2.0))).guarantee(0.1, 3, 1e-5) is None
    assert Chain((NoDefense(), Chain((Remembering(),)), Proven(2.0))).guarantee(0.1, 3, 1e-5) is None


def test_what_an_aware_attacker_replays_comes_from_every_part():
    part = Affine("gradient", *FIRST)
    assert Chain((part, Proven(1.0))).replay() == Chain((part, NoDefense()))


def test_equal_parts_make_equal_chains():
    parts = Affine("gradient", *FIRST), NoDefense()
    assert Chain(parts) == Chain(tuple(replace(part) for part in parts))
    assert hash(Chain(parts)) == hash(Chain(tuple(replace(part) for part in parts)))
    assert Chain(parts) != Chain(parts[::-1])
    assert eval(repr(Chain(parts))) == Chain(parts)


def test_every_part_installs_what_it_needs_in_order():
    agreed, _ = tiny.make(tiny.plain)
    state = {"w": torch.ones(2)}
    task, found = Chain((Installed(2.0), NoDefense(), Installed(3.0))).install(agreed, state, generator(4))
    first, second = torch.rand(2, generator=generator(4)).tolist()
    assert task.spec.std == (*agreed.spec.std, 2.0, 3.0)
    assert_close(found["w"], torch.full((2,), 3 * (2 + first) + second))
    assert torch.equal(state["w"], torch.ones(2))
