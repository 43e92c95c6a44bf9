"""The check of a model that came: an honest one is trained, one made for reading images is not."""

import pytest
import tomli_w
import torch
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from leakward.attacks import CuriousAbandonHonesty, RobbingTheFed
from leakward.integrations.nvflare import ModelCheckFilter, hand_over
from leakward.models import TaskSpec, build_task, initial_state
from leakward.settings import plain_fields
from leakward.types import generator

AGREED = build_task(TaskSpec("mlp", (1, 8, 8), 2, {"hidden": 16}))
STATE = initial_state(AGREED, generator(0))


def context():
    found = FLContext()
    found.put(ReservedKey.IDENTITY_NAME, "clinic-a", private=False, sticky=False)
    return found


def check(tmp_path, spec, state):
    path, came = tmp_path / "site.toml", DXO(DataKind.WEIGHTS, state).to_shareable()
    tables = {"site": {"name": "clinic-a"}, "task": plain_fields(spec), "recipe": {"share": "update"}}
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    assert ModelCheckFilter(str(path)).process(came, context()) is came


@pytest.mark.parametrize("form", [torch.Tensor.numpy, torch.Tensor.clone])
def test_an_honest_model_passes(tmp_path, form):
    check(tmp_path, AGREED.spec, {name: form(value) for name, value in STATE.items()})


def require_refused(caplog, tmp_path, spec, state, match):
    with pytest.raises(ContentBlockedException):
        check(tmp_path, spec, state)
    assert match in caplog.text


def test_an_imprint_module_is_refused(tmp_path, caplog):
    planted, state = RobbingTheFed(bins=16).plant(AGREED, STATE, None, generator(0))
    require_refused(caplog, tmp_path, planted.spec, state, "looks tampered with: 16 of 16 rows")


def test_trap_weights_are_refused(tmp_path, caplog):
    planted, state = CuriousAbandonHonesty().plant(AGREED, STATE, None, generator(0))
    require_refused(caplog, tmp_path, planted.spec, state, "as in trap weights")


def test_a_model_of_another_network_is_refused(tmp_path, caplog):
    _, state = RobbingTheFed(bins=16).plant(AGREED, STATE, None, generator(0))
    require_refused(caplog, tmp_path, AGREED.spec, state, "let the site's file name the network")


def test_weights_in_another_dress_are_refused(tmp_path, caplog):
    task = DXO(DataKind.WEIGHT_DIFF, STATE).to_shareable()
    with pytest.raises(ContentBlockedException):
        ModelCheckFilter(str(tmp_path / "site.toml")).process(task, context())
    assert "the check knows no other" in caplog.text


def test_images_of_a_round_that_was_never_finished_are_forgotten(tmp_path):
    check(tmp_path, AGREED.spec, STATE)
    images, labels = torch.rand(2, 1, 8, 8, generator=generator(1)), torch.tensor([0, 1])
    hand_over(tmp_path / "site.toml", "clinic-a", images[:1], labels[:1], images[1:], labels[1:])
    kept = tmp_path / "leakward" / "clinic-a" / "private" / "next.safetensors"
    assert kept.exists()
    check(tmp_path, AGREED.spec, STATE)
    assert not kept.exists()


def test_tasks_without_a_model_pass(tmp_path):
    empty = Shareable()
    assert ModelCheckFilter(str(tmp_path / "none.toml")).process(empty, context()) is empty
