"""Captures from a stranger: whatever they hold, they load or are refused with one short sentence, and write nothing."""

import json
import math
import warnings
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leakward.errors import LeakwardError
from leakward.federated import LocalTraining, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.registry import load
from leakward.threat import ThreatModel, load_capture, observe, save_capture
from leakward.types import Batch, generator

LENET = {"channels": 2, "convolutions": 3, "halving": 2, "kernel": 5}
HOSTILE = [
    *(None, True, -1, 0, 1, 20_000, 10**9, 2**31, 2**63, 10**30, 1e308, math.nan, math.inf, "", "\x00", "x" * 10_000),
    *("../../etc/passwd", "os:system", "builtins:exec", "leakward.cli:main", "resnet18", "densenet121"),
    *([], [[]], {}, {"a": 1}, [1], [10**6] * 3, [3, 4000, 4000], [3, 0, 0], [3, -8, 8]),
]


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """A capture with everything that one can have, in a folder to be broken; and its two files as they were."""
    task = build_task(TaskSpec("lenet", (3, 8, 8), 4, LENET))
    batch = Batch(torch.rand(2, 3, 8, 8, generator=generator(0)), torch.tensor([0, 3]))
    recipe, noise = LocalTraining(share="update", batch_images=2), load("defenses", "gaussian-noise")(std=0.1)
    round_ = run_round(task, initial_state(task, generator(0)), batch, recipe, noise, generator(0))
    folder = tmp_path_factory.mktemp("hostile") / "capture"
    save_capture(observe(round_, ThreatModel("oracle", labels=True)), folder)
    facts, tensors = json.loads((folder / "capture.json").read_text()), (folder / "tensors.safetensors").read_bytes()
    return folder, facts, tensors


def places(value, before=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*before, key)
        yield from places(part, (*before, key))


def require_loaded_or_refused(folder):
    """Nothing but an observation or a sentence comes of it, and nothing else in the folder around it."""
    sentence = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of networks for images without pixels
        try:
            load_capture(folder)
        except LeakwardError as error:
            sentence = str(error)
    assert len(sentence) < 1000
    assert "\n" not in sentence
    assert [path.name for path in folder.parent.iterdir()] == ["capture"]
    assert sorted(path.name for path in folder.iterdir()) == ["capture.json", "tensors.safetensors"]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
def test_any_value_in_any_place(capture, value):
    folder, facts, tensors = capture
    (folder / "tensors.safetensors").write_bytes(tensors)
    for *way, last in places(facts):
        changed = deepcopy(facts)
        table = changed
        for key in way:
            table = table[key]
        table[last] = value
        (folder / "capture.json").write_text(json.dumps(changed))
        require_loaded_or_refused(folder)


BYTES = st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(changes=BYTES, kept=st.one_of(st.none(), st.integers(0, 4000)))
def test_any_bytes_in_the_header_and_any_length(capture, changes, kept):
    folder, facts, tensors = capture
    (folder / "capture.json").write_text(json.dumps(facts))
    content = bytearray(tensors)
    for place, value in changes:
        content[place] = value
    (folder / "tensors.safetensors").write_bytes(content[:kept])
    require_loaded_or_refused(folder)


def test_a_network_larger_than_its_file_is_never_built(capture, monkeypatch):
    """One of 7 GB by the facts, in a file of some kilobytes."""
    folder, facts, tensors = capture
    (folder / "tensors.safetensors").write_bytes(tensors)
    changed = deepcopy(facts)
    changed["task"]["num_classes"] = 10**8
    (folder / "capture.json").write_text(json.dumps(changed))
    built = []
    monkeypatch.setattr("torch.nn.init.uniform_", lambda value, *_: built.append(value.device.type))
    with pytest.raises(
        LeakwardError, match=r"expected a safetensors file with the \d+ numbers of .lenet. .*, got \d+ bytes"
    ):
        load_capture(folder)
    assert {*built} == {"meta"}
