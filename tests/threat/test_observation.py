"""Nothing private passes ``observe`` but what the threat model grants."""

from dataclasses import fields, replace

import pytest
import torch

from leakward import registry
from leakward.federated import LocalTraining, NoDefense
from leakward.tape import Tape
from leakward.threat import Observation, ThreatModel, observe, save_capture
from leakward.types import Batch, generator

MODELS = [ThreatModel(knowledge, labels) for knowledge in ("unaware", "aware", "oracle") for labels in (False, True)]
RECIPE = LocalTraining(share="update", batch_images=2, epochs=2, learning_rate=0.1)


def same(one, other):
    """Compare two values down to the last tensor."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if type(one).__name__ == "Update":
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return one == other


def with_other_secrets(round_, *, labels, randomness):
    """Return the round with the same message from other images, and where asked other labels and randomness."""
    rng = generator(99)
    classes = round_.batch.labels
    images = torch.rand(round_.batch.images.shape, generator=rng)
    values = [torch.randn(v.shape, generator=rng) for v in round_.tape.values] if randomness else round_.tape.values
    return replace(
        round_,
        batch=Batch(images, (classes + 1) % 4 if labels else classes),
        tape=Tape(rng, values, [*round_.tape.draws]),
    )


@pytest.mark.parametrize("threat", MODELS, ids=lambda t: f"{t.knowledge}-{'granted' if t.labels else 'inferred'}")
@pytest.mark.parametrize("defense", sorted(registry.names("defenses").keys() - {"group-norm"}))
def test_rounds_that_differ_in_what_is_withheld_look_the_same(threat, defense, rounds, tmp_path):
    """Images always; labels and randomness where they are not granted. Captures are the same to the last byte."""
    first = rounds(recipe=RECIPE, defense=registry.load("defenses", defense)())
    second = with_other_secrets(first, labels=not threat.labels, randomness=threat.knowledge != "oracle")
    one, other = observe(first, threat), observe(second, threat)
    for f in fields(Observation):
        assert same(getattr(one, f.name), getattr(other, f.name)), f.name
    for name, observation in (("one", one), ("other", other)):
        save_capture(observation, tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()


@pytest.mark.parametrize("threat", MODELS, ids=lambda t: f"{t.knowledge}-{'granted' if t.labels else 'inferred'}")
def test_what_is_granted_is_seen(threat, rounds):
    """The other way round: the comparison above would notice."""
    noise = registry.load("defenses", "gaussian-noise")(std=0.1)
    first = rounds(defense=noise)
    second = with_other_secrets(first, labels=True, randomness=True)
    one, other = observe(first, threat), observe(second, threat)
    assert same(one.labels, other.labels) == (not threat.labels)
    assert same(one.randomness, other.randomness) == (threat.knowledge != "oracle")
    assert (one.labels is not None) == threat.labels
    assert (one.randomness is not None) == (threat.knowledge == "oracle")
    assert one.defense == (NoDefense() if threat.knowledge == "unaware" else noise)
    assert one.shape == (2, 3, 8, 8)


def test_no_field_is_the_batch_or_holds_it(rounds):
    round_ = rounds()
    seen = observe(round_, ThreatModel("oracle", labels=True))
    reachable = [value for f in fields(seen) for value in leaves(getattr(seen, f.name))]
    assert len(reachable) > 10
    assert not any(value.shape == round_.batch.images.shape for value in reachable)


def leaves(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, torch.nn.Module):
        return [*value.state_dict().values()]
    if isinstance(value, (dict, tuple, list)):
        return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in leaves(item)]
    if hasattr(value, "__dataclass_fields__"):
        return [leaf for f in fields(value) for leaf in leaves(getattr(value, f.name))]
    return []


def test_private_helpers_stay_at_the_client(rounds):
    """The decoder of learnable perturbation is drawn and trained, and is neither in the message nor in the task."""
    seen = observe(rounds(defense=registry.load("defenses", "learnable-perturbation")()), ThreatModel())
    assert tuple(seen.update.tensors) == seen.task.parameter_names
    assert seen.update.buffers == {}
    assert seen.state.keys() == seen.task.model.state_dict().keys()


def test_changing_what_is_seen_does_not_change_the_round(rounds):
    round_ = rounds()
    observe(round_, ThreatModel()).update.tensors.clear()
    assert round_.update.tensors
