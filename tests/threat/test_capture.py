"""Captures come back as they were, or not at all."""

import json
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from leakward import registry
from leakward.errors import CaptureError
from leakward.federated import Chain, LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.settings import plain_fields, tensor_fields
from leakward.threat import ThreatModel, load_capture, observe, save_capture
from leakward.types import Batch, generator

DEFENSES = sorted(registry.names("defenses").keys() - {"group-norm"})
TRAIN = LocalTraining(batch_images=2, mode="train")


def make(name, **settings):
    return registry.load("defenses", name)(**settings)


def fitted():
    """A defence as ``prepare`` returns it."""
    return make(
        "learnable-perturbation", noise="learned", fitted_mean=torch.rand(2, 2, 2), fitted_std=torch.rand(2, 2, 2)
    )


def parts(defense):
    return defense.parts if isinstance(defense, Chain) else (defense,)


def require_same(one, other):
    for f in fields(one.update):
        left, right = getattr(one.update, f.name), getattr(other.update, f.name)
        if isinstance(left, dict):
            assert left.keys() == right.keys()
            assert all(torch.equal(left[name], right[name]) for name in left)
        else:
            assert left == right
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(value, other.state[name]) for name, value in one.state.items())
    assert (one.task.spec, one.recipe, one.threat) == (other.task.spec, other.recipe, other.threat)
    for left, right in zip(parts(one.defense), parts(other.defense), strict=True):
        assert type(left) is type(right)
        assert plain_fields(left) == plain_fields(right)
        mine, theirs = tensor_fields(left), tensor_fields(right)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    for left, right in ((one.labels, other.labels), (one.randomness, other.randomness)):
        assert (left is None) == (right is None)
    if one.labels is not None:
        assert torch.equal(one.labels, other.labels)
    for left, right in zip(one.randomness or (), other.randomness or (), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("knowledge", ["unaware", "aware", "oracle"])
@pytest.mark.parametrize("name", [*DEFENSES, "fitted", "chain"])
def test_every_defence_comes_back(name, knowledge, rounds, tmp_path):
    special = {
        "fitted": fitted,
        "chain": lambda: Chain((make("clipping", max_norm=0.5), make("gaussian-noise", std=0.2))),
    }
    defense = special[name]() if name in special else make(name)
    seen = observe(rounds(defense=defense), ThreatModel(knowledge, labels=True))
    save_capture(seen, tmp_path / "made" / "capture")
    require_same(seen, load_capture(tmp_path / "made" / "capture"))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["capture"]


def test_a_recipe_that_is_not_that_of_the_defence_is_refused(rounds, tmp_path):
    save_capture(observe(rounds(defense=make("larger-batches", batch_images=3)), ThreatModel()), tmp_path / "capture")
    change_facts(tmp_path / "capture", lambda facts: facts["recipe"].update(batch_images=2))
    with pytest.raises(CaptureError, match="LargerBatches: expected a recipe with batch_images = 3, got 2"):
        load_capture(tmp_path / "capture")


def test_chains_of_chains_come_back_as_one(rounds, tmp_path):
    inner = Chain((make("pruning"), fitted()))
    seen = observe(rounds(defense=Chain((make("clipping"), inner))), ThreatModel())
    save_capture(seen, tmp_path / "capture")
    assert load_capture(tmp_path / "capture").defense == Chain((make("clipping"), *inner.parts))


@pytest.mark.parametrize("factory", ["build", "frozen"])
def test_buffers_and_frozen_weights_come_back(factory, tmp_path):
    """Frozen weights come back from the client as the very tensors it was given."""
    task = build_task(TaskSpec(f"normalised_network:{factory}", (3, 8, 8), 4))
    batch = Batch(torch.rand(2, 3, 8, 8, generator=generator(0)), torch.tensor([0, 3]))
    round_ = run_round(task, initial_state(task, generator(0)), batch, TRAIN, NoDefense(), generator(0))
    seen = observe(round_, ThreatModel())
    assert "1.running_mean" in seen.update.buffers
    save_capture(seen, tmp_path / "capture")
    loaded = load_capture(tmp_path / "capture")
    require_same(seen, loaded)
    assert [*loaded.state] == [*seen.state]
    assert [*loaded.update.tensors] == [*seen.update.tensors]


@pytest.fixture
def saved(rounds, tmp_path):
    """A capture in a folder, to be broken."""
    save_capture(observe(rounds(), ThreatModel(labels=True)), tmp_path / "capture")
    return tmp_path / "capture"


def change_tensors(folder, change):
    tensors = load_file(folder / "tensors.safetensors")
    change(tensors)
    save_file(tensors, folder / "tensors.safetensors")


def change_facts(folder, change):
    facts = json.loads((folder / "capture.json").read_text())
    change(facts)
    (folder / "capture.json").write_text(json.dumps(facts))


WEIGHT, BIAS = "predictor.1.weight", "predictor.1.bias"
BROKEN_TENSORS = {
    "state missing": (lambda t: t.pop(f"state/{WEIGHT}"), f"expected a tensor 'state/{WEIGHT}', got none"),
    "update missing": (lambda t: t.pop(f"update/{BIAS}"), f"expected a tensor 'update/{BIAS}', got none"),
    "labels missing": (lambda t: t.pop("labels"), "expected a tensor 'labels', got none"),
    "state NaN": (lambda t: t[f"state/{BIAS}"].fill_(torch.nan), f"'state/{BIAS}' holds NaN or infinity"),
    "update infinite": (lambda t: t[f"update/{BIAS}"].fill_(torch.inf), f"'update/{BIAS}' holds NaN or infinity"),
    "shape": (lambda t: t.update({f"update/{BIAS}": torch.ones(5)}), r"expected shape \(4,\), got \(5,\)"),
    "too large": (
        lambda t: t.update({f"state/{BIAS}": torch.ones(4, 1000)}),
        r"expected shape \(4,\), got \(4, 1000\)",
    ),
    "whole update": (
        lambda t: t.update({f"update/{BIAS}": torch.ones(4).int()}),
        "expected floating numbers, got whole",
    ),
    "floating labels": (lambda t: t.update({"labels": torch.ones(2)}), "expected whole numbers, got floating"),
    "truth values": (lambda t: t.update({"labels": torch.ones(2).bool()}), "expected numbers of type .*, got BOOL"),
    "too many labels": (lambda t: t.update({"labels": torch.ones(3).long()}), r"expected shape \(2,\), got \(3,\)"),
    "labels out of range": (lambda t: t.update({"labels": torch.tensor([0, 4])}), r"labels 0 to 3, got \[0, 4\]"),
    "images": (lambda t: t.update({"images": torch.rand(2, 3, 8, 8)}), "expected no tensor 'images'"),
    "draws": (lambda t: t.update({"draw/0": torch.rand(2)}), "expected no tensor 'draw/0'"),
    "buffers": (lambda t: t.update({"buffers/mean": torch.rand(2)}), "expected no tensor 'buffers/mean'"),
    "not of the defence": (lambda t: t.update({"defense.0/std": torch.rand(2)}), "expected no tensor 'defense.0/std'"),
}


@pytest.mark.parametrize("what", BROKEN_TENSORS)
def test_wrong_tensors_are_refused(what, saved):
    change, sentence = BROKEN_TENSORS[what]
    change_tensors(saved, change)
    with pytest.raises(CaptureError, match=sentence):
        load_capture(saved)


BROKEN_FACTS = {
    "schema": (lambda f: f.update(schema=2), "expected schema 1, got 2"),
    "no schema": (lambda f: f.pop("schema"), "expected schema 1, got None"),
    "unknown model": (lambda f: f["task"].update(model="nonet"), "unknown name 'nonet' among models"),
    "no such module": (lambda f: f["task"].update(model="no.such:net"), "expected package.module:factory"),
    "other model": (lambda f: f["task"].update(model="mlp", options={"hidden": 1}), "expected a tensor 'state/"),
    "impossible shape": (lambda f: f["task"].update(input_shape=[3, -8, 8]), "cannot"),
    "wrong type": (lambda f: f["task"].update(num_classes="four"), "task num_classes: .*got 'four'"),
    "unknown defence": (lambda f: f["defenses"][0].update(name="nothing"), "unknown name 'nothing' among defenses"),
    "defence without name": (lambda f: f["defenses"][0].pop("name"), "list of tables with a name"),
    "defences": (lambda f: f.update(defenses=None), "list of tables with a name"),
    "setting of a defence": (lambda f: f["defenses"][0].update(std=1.0), r"defenses\[0\]: unknown key 'std'"),
    "bad recipe": (lambda f: f["recipe"].update(epochs=0), "recipe: LocalTraining: epochs=0"),
    "no recipe": (lambda f: f.pop("recipe"), "expected a table 'recipe', got None"),
    "bad threat": (lambda f: f["threat"].update(knowledge="all"), "threat knowledge: .*got 'all'"),
    "no images": (lambda f: f.update(images=0), "whole number of at least 1, got 0"),
    "images of unequal clients": (lambda f: f["threat"].update(clients=3), "as many for each of 3 clients, got 2"),
    "no clients": (lambda f: f["threat"].update(clients=0), "clients=0: expected a whole number of at least 1"),
    "endless training": (lambda f: f["recipe"].update(epochs=10**6), "epochs=1000000: expected a .* at most 10000"),
    "images as truth": (lambda f: f.update(images=True), "whole number of at least 1, got True"),
    "labels not granted": (lambda f: f["threat"].update(labels=False), "expected no tensor 'labels'"),
    "fewer images": (lambda f: f.update(images=1), r"'labels': expected shape \(1,\), got \(2,\)"),
}


@pytest.mark.parametrize("what", BROKEN_FACTS)
def test_wrong_facts_are_refused(what, saved):
    change, sentence = BROKEN_FACTS[what]
    change_facts(saved, change)
    with pytest.raises(CaptureError, match=sentence):
        load_capture(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content, saved):
    (saved / "capture.json").write_bytes(content)
    with pytest.raises(CaptureError, match=r"capture\.json: expected"):
        load_capture(saved)


class Opens:
    """An object whose pickle would run code when it is loaded."""

    def __reduce__(self):
        return pytest.fail, ("the pickle was loaded",)


def test_a_pickle_in_disguise_is_refused(saved):
    (saved / "tensors.safetensors").write_bytes(pickle.dumps(Opens()))
    with pytest.raises(CaptureError, match="expected a safetensors file"):
        load_capture(saved)
    torch.save({"a": torch.ones(2)}, saved / "tensors.safetensors")
    with pytest.raises(CaptureError, match="expected a safetensors file"):
        load_capture(saved)
    np.save(saved / "array.npy", np.array([Opens()]), allow_pickle=True)
    (saved / "array.npy").replace(saved / "tensors.safetensors")
    with pytest.raises(CaptureError, match="expected a safetensors file"):
        load_capture(saved)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(kept, saved):
    path = saved / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CaptureError, match="expected a safetensors file"):
        load_capture(saved)


@pytest.mark.parametrize("name", ["capture.json", "tensors.safetensors"])
def test_a_missing_file_is_named(name, saved):
    (saved / name).unlink()
    with pytest.raises(CaptureError, match=name):
        load_capture(saved)


def test_fitted_tensors_of_another_network_are_refused(rounds, tmp_path):
    save_capture(observe(rounds(defense=fitted()), ThreatModel()), tmp_path / "capture")
    other = {f"defense.0/fitted_{name}": torch.rand(2, 2, 3) for name in ("mean", "std")}
    change_tensors(tmp_path / "capture", lambda t: t.update(other))
    with pytest.raises(CaptureError, match="latent noise: expected shape"):
        load_capture(tmp_path / "capture")


@pytest.mark.parametrize("change", [lambda t: t.pop("draw/1"), lambda t: t.update({"draw/0": torch.rand(2)})])
def test_draws_that_the_client_did_not_ask_for_are_refused(change, rounds, tmp_path):
    save_capture(observe(rounds(defense=make("gaussian-noise")), ThreatModel("oracle")), tmp_path / "capture")
    change_tensors(tmp_path / "capture", change)
    with pytest.raises(CaptureError, match="expected random draws of shapes"):
        load_capture(tmp_path / "capture")


def test_an_existing_folder_is_left_alone(saved):
    seen, before = load_capture(saved), (saved / "capture.json").read_bytes()
    with pytest.raises(CaptureError, match="expected a new folder, but it exists"):
        save_capture(seen, saved)
    assert (saved / "capture.json").read_bytes() == before


def test_what_could_not_be_loaded_is_not_saved(saved):
    seen, folder = load_capture(saved), saved.parent / "broken"
    tensors = {name: value * torch.nan for name, value in seen.update.tensors.items()}
    for wrong in (
        replace(seen, update=replace(seen.update, tensors=tensors)),
        replace(seen, update=replace(seen.update, tensors={})),
        replace(seen, threat=ThreatModel(labels=False)),
    ):
        with pytest.raises(CaptureError):
            save_capture(wrong, folder)
    assert [path.name for path in saved.parent.iterdir()] == ["capture"]


def test_nothing_is_left_where_writing_fails(saved, monkeypatch):
    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("leakward.threat.capture_tensors.save_file", fail)
    with pytest.raises(CaptureError, match="no space left on device"):
        save_capture(load_capture(saved), saved.parent / "other")
    assert [path.name for path in saved.parent.iterdir()] == ["capture"]


def test_a_place_that_is_a_file_is_named(saved):
    with pytest.raises(CaptureError, match="expected a place to write to"):
        save_capture(load_capture(saved), saved / "capture.json" / "inside")
