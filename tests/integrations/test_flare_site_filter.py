"""The door of a site at a client of FLARE: what leaves is recorded and entered, and whatever else comes stays."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants
from opacus import PrivacyEngine

from leakward.errors import DefenseError, LeakwardError
from leakward.integrations.nvflare import DefenseFilter, SentModelFilter, SiteFilter, hand_over, live_site
from leakward.integrations.nvflare.payload import BEGUN
from leakward.live import Ledger, counted
from leakward.live.steps import keep_steps
from leakward.models import build_task, initial_state
from leakward.models.task import TaskSpec
from leakward.threat import load_capture
from leakward.types import generator

SITE = """
[site]
name = "clinic-a"

[task]
model = "mlp"
input_shape = [1, 4, 4]
num_classes = 2
options = { hidden = 3 }

[recipe]
share = "update"
"""
SENT = initial_state(build_task(TaskSpec("mlp", (1, 4, 4), 2, {"hidden": 3})), generator(0))
TRAINED = {name: value + 0.5 for name, value in SENT.items()}
CHANGE = {name: TRAINED[name] - value for name, value in SENT.items()}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE, encoding="utf-8")
    return path


def message(kind, values, number=None, **others):
    found = DXO(kind, {**values, **others}).to_shareable()
    if number is not None:
        found.set_header(AppConstants.CURRENT_ROUND, number)
    return found


def arrays(values):
    return {name: value.numpy() for name, value in values.items()}


def context(client="site-1", sent=SENT):
    found = FLContext()
    found.put(ReservedKey.IDENTITY_NAME, client, private=False, sticky=False)
    if sent is not None:
        SentModelFilter().process(message(DataKind.WEIGHTS, sent), found)
    return found


def entries(site):
    return Ledger(site.parent / "leakward" / "ledger.jsonl").entries()


def capture(site, client="clinic-a-site-1"):
    return load_capture(site.parent / "leakward" / client / "captures" / "000001")


def out(site, result, sent=None, **settings):
    return SiteFilter(str(site), **settings).process(result, context() if sent is None else sent)


@pytest.mark.parametrize("form", [dict, arrays])
@pytest.mark.parametrize(("kind", "values"), [(DataKind.WEIGHTS, TRAINED), (DataKind.WEIGHT_DIFF, CHANGE)])
def test_what_leaves_is_what_is_captured_and_entered(site, form, kind, values):
    result = message(kind, form(values), 7)
    assert out(site, result) is result
    seen = capture(site).update.tensors
    for name, value in CHANGE.items():
        torch.testing.assert_close(seen[name], -value)
        np.testing.assert_array_equal(np.asarray(from_shareable(result).data[name]), np.asarray(values[name]))
    [entry] = entries(site)
    assert (entry.client, entry.round, entry.sent) == ("clinic-a-site-1", 7, True)
    assert entry.defense == {"name": "none"}


def test_a_site_of_one_name_here_and_there_has_that_name(site):
    out(site, message(DataKind.WEIGHTS, TRAINED), context("clinic-a"))
    assert entries(site)[0].client == "clinic-a"


def test_what_was_applied_before_is_known(site):
    sent, result = context(), message(DataKind.WEIGHTS, TRAINED)
    for table in ({"name": "clipping", "max_norm": 0.5}, {"name": "gaussian-noise", "std": 0.25}):
        result = DefenseFilter(table).process(result, sent)
    out(site, result, sent, defense={"name": "bido"})
    assert [part["name"] for part in entries(site)[0].defense["parts"]] == ["bido", "clipping", "gaussian-noise"]
    moved = from_shareable(result).data
    for name, value in capture(site).update.tensors.items():
        assert torch.equal(value, SENT[name] - moved[name])


def test_a_defence_on_the_message_is_not_named_twice(site):
    with pytest.raises(DefenseError, match="give it to DefenseFilter alone"):
        SiteFilter(str(site), {"name": "clipping"})
    with pytest.raises(DefenseError, match="unknown name 'clippng'"):
        SiteFilter(str(site), {"name": "clippng"})
    assert SiteFilter(str(site), {"name": "none"}).trained_with == ()


def test_the_images_of_the_round_are_found(site):
    images, labels = torch.rand(3, 1, 4, 4, generator=generator(1)), torch.tensor([0, 1, 1])
    hand_over(site, "site-1", images[:2], labels[:2], images[2:], labels[2:])
    out(site, message(DataKind.WEIGHTS, TRAINED))
    assert entries(site)[0].images == 2
    assert (site.parent / "leakward" / "clinic-a-site-1" / "private" / "000001.safetensors").exists()


def test_steps_that_an_aborted_job_left_do_not_vouch_for_the_next(site):
    keep_steps(live_site(site, "site-1").private, [(1.5, 0.25, 1)])
    with pytest.raises(ContentBlockedException):
        out(site, message(DataKind.WEIGHTS, TRAINED))
    out(site, message(DataKind.WEIGHTS, TRAINED))
    assert [(entry.sent, entry.steps, entry.epsilon) for entry in entries(site)] == [(False, (), 0.0), (True, (), None)]


@pytest.mark.filterwarnings("ignore:Secure RNG")
def test_steps_of_opacus_in_the_training_script_are_entered(site):
    engine, begun = PrivacyEngine(accountant="rdp"), context()
    with counted(live_site(site, "site-1"), engine):
        engine.accountant.step(noise_multiplier=1.5, sample_rate=0.25)
    begun.put(BEGUN, True, private=True, sticky=False)
    out(site, message(DataKind.WEIGHTS, TRAINED), begun)
    [entry] = entries(site)
    assert entry.steps == ((1.5, 0.25, 1),)
    assert entry.epsilon == pytest.approx(engine.get_epsilon(1e-5))


def test_a_site_withholds_without_saying_why(site, caplog):
    site.write_text(SITE + "[gate]\n", encoding="utf-8")
    with pytest.raises(ContentBlockedException, match=r"^leakward: the site sends nothing; its log says why$"):
        out(site, message(DataKind.WEIGHTS, TRAINED, 3))
    [entry] = entries(site)
    assert (entry.sent, entry.round) == (False, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "leakward: clinic-a-site-1, round 3 withheld: the training handed over no images of this round, which the gate "
        "needs"
    ]


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (message(DataKind.WEIGHTS, TRAINED, patient=torch.rand(1, 4, 4)), "withheld: "),
        (message(DataKind.WEIGHTS, dict([*TRAINED.items()][1:])), "withheld: "),
        (message(DataKind.WEIGHTS, {name: value * np.nan for name, value in TRAINED.items()}), "withheld: "),
        (message(DataKind.WEIGHT_DIFF, CHANGE, patient=torch.rand(1, 4, 4)), "got that of 'patient', which did not"),
        (message(DataKind.WEIGHT_DIFF, {name: value[:1] for name, value in CHANGE.items()}), "which did not"),
        (message(DataKind.WEIGHTS, {"w": object()}), "leakward: (Type|Runtime)Error$"),
        (DXO(DataKind.METRICS, {"loss": 1.0}).to_shareable(), "expected weights or their change, got"),
        (Shareable({"w": torch.ones(1)}), "none that FLARE knows"),
    ],
)
def test_whatever_is_not_as_expected_stays(site, caplog, result, match):
    with pytest.raises(ContentBlockedException):
        out(site, result)
    assert re.search(match, caplog.text, re.MULTILINE)
    assert not any(entry.sent for entry in entries(site))


def test_without_the_model_that_came_nothing_leaves(site, caplog):
    with pytest.raises(ContentBlockedException):
        out(site, message(DataKind.WEIGHT_DIFF, CHANGE), context(sent=None))
    assert "add SentModelFilter" in caplog.text


def test_a_broken_file_of_the_site_blocks(site, caplog):
    site.write_text("[site]\n", encoding="utf-8")
    with pytest.raises(ContentBlockedException):
        out(site, message(DataKind.WEIGHTS, TRAINED))
    assert "has problems" in caplog.text


def test_a_client_that_cannot_be_a_folder_is_refused(site, caplog):
    with pytest.raises(LeakwardError, match="expected a name of letters"):
        hand_over(
            site, "../b", torch.rand(1, 1, 4, 4), torch.zeros(1).long(), torch.rand(1, 1, 4, 4), torch.zeros(1).long()
        )
    with pytest.raises(ContentBlockedException):
        out(site, message(DataKind.WEIGHTS, TRAINED), context("../b"))
    assert "expected a name of letters" in caplog.text


def test_of_a_failure_nothing_leaves_but_the_word(site):
    failed = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    failed["patient"] = torch.ones(1)
    image, label = torch.rand(1, 1, 4, 4, generator=generator(1)), torch.tensor([0])
    hand_over(site, "site-1", image, label, image, label)
    left = out(site, failed)
    assert left.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert "patient" not in left
    assert entries(site) == []
    assert not (site.parent / "leakward" / "clinic-a-site-1" / "private" / "next.safetensors").exists()


@pytest.mark.parametrize("number", ["7", 1.5, None, True])
def test_what_is_no_round_is_not_entered_as_one(site, number):
    out(site, message(DataKind.WEIGHTS, TRAINED, number))
    assert entries(site)[0].round == 0
