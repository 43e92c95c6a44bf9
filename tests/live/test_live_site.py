"""A site's door: what leaves is recorded, judged and entered, and whatever goes wrong stays in."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from leakward.errors import WithheldError
from leakward.federated import NoDefense
from leakward.live import Gate, LiveSite, load_private_batch, read_site
from leakward.live import gate as gates
from leakward.threat import load_capture

GATE = Gate({"name": "gaussian-prior", "iterations": 60})


def site(file: Path, gate: Gate | None = None, **home):
    settings = read_site(file)
    return LiveSite(replace(settings, gate=gate, home=replace(settings.home, **home)), "clinic-a")


def test_what_leaves_is_in_the_capture_and_the_images_beside_it(site_file, trained):
    here = site(site_file)
    here.keep(trained.batch)
    here.release(trained.before, trained.after, NoDefense(), 7)
    capture = load_capture(here.folder / "captures" / "000001")
    for name, value in capture.update.tensors.items():
        assert torch.equal(value, trained.before[name] - trained.after[name])
    kept = load_private_batch(here.folder / "private" / "000001.safetensors")
    assert torch.equal(kept.batch.images, trained.batch.batch.images)
    [entry] = here.ledger.entries()
    assert (entry.round, entry.sent, entry.images, entry.epsilon) == (7, True, 1, None)


def test_weights_that_came_in_double_precision_are_those_that_the_network_got(site_file, trained):
    here = site(site_file)
    here.release({name: value.double() for name, value in trained.before.items()}, trained.after, NoDefense())
    capture = load_capture(here.folder / "captures" / "000001")
    for name, value in capture.update.tensors.items():
        torch.testing.assert_close(value, trained.before[name] - trained.after[name], rtol=0, atol=0)


def test_without_the_images_the_recipe_tells_their_number(site_file, trained):
    here = site(site_file)
    here.release(trained.before, trained.after, NoDefense())
    assert load_capture(here.folder / "captures" / "000001").update.images == 1


def test_images_of_a_round_that_was_never_finished_are_not_those_of_the_next(site_file, trained):
    here = site(site_file, GATE)
    here.keep(trained.batch)
    here.start()
    with pytest.raises(WithheldError):
        here.release(trained.before, trained.after, NoDefense())
    assert "handed over no images" in here.ledger.entries()[0].reason


def test_an_update_that_gives_an_image_away_stays(site_file, trained, caplog):
    here = site(site_file, GATE)
    here.keep(trained.batch)
    with pytest.raises(WithheldError, match="its log and its ledger say why"):
        here.release(trained.before, trained.after, NoDefense(), 1)
    [entry] = here.ledger.entries()
    assert (entry.sent, entry.identified, entry.epsilon) == (False, 1.0, 0.0)
    assert "identified 100% of the images" in caplog.text


def test_a_site_that_does_not_record_keeps_nothing(site_file, trained):
    here = site(site_file, record=False)
    here.keep(trained.batch)
    here.release(trained.before, trained.after, NoDefense(), 1)
    assert not [*here.folder.glob("*/0*")]


def test_what_is_not_judged_in_time_stays(site_file, trained):
    here = site(site_file, replace(GATE, seconds=0.5))
    here.keep(trained.batch)
    with pytest.raises(WithheldError):
        here.release(trained.before, trained.after, NoDefense())
    assert here.ledger.entries()[0].reason == "the judgement took longer than 0.5 seconds"


def test_a_judgement_that_dies_withholds(site_file, trained, monkeypatch):
    died = subprocess.CompletedProcess([], -9, "", "patient 17")
    monkeypatch.setattr(gates.subprocess, "run", lambda *_, **__: died)
    here = site(site_file, GATE)
    here.keep(trained.batch)
    with pytest.raises(WithheldError):
        here.release(trained.before, trained.after, NoDefense())
    assert here.ledger.entries()[0].reason == "the judgement failed"


def test_the_gate_needs_the_images(site_file, trained):
    with pytest.raises(WithheldError):
        site(site_file, GATE).release(trained.before, trained.after, NoDefense())


@pytest.mark.parametrize("broken", ["nan", "missing", "shape", "more"])
def test_a_broken_update_stays_whether_it_is_judged_or_not(site_file, trained, broken):
    name = next(iter(trained.after))
    after = dict(trained.after)
    if broken == "missing":
        del after[name]
    elif broken == "more":
        after["patient"] = trained.batch.batch.images
    else:
        after[name] = after[name] * float("nan") if broken == "nan" else after[name][:1]
    here = site(site_file)
    with pytest.raises(WithheldError):
        here.release(trained.before, after, NoDefense())
    [entry] = here.ledger.entries()
    assert not entry.sent
    assert entry.epsilon == 0.0


def test_nothing_leaves_that_cannot_be_entered(site_file, trained):
    here = site(site_file)
    here.ledger.path.mkdir(parents=True)
    with pytest.raises(WithheldError):
        here.release(trained.before, trained.after, NoDefense())


def test_what_an_error_says_is_kept_back(site_file, trained, monkeypatch, caplog):
    def broken(*_):
        raise KeyError("patient 17")

    monkeypatch.setattr("leakward.live.site.observed", broken)
    here = site(site_file)
    with pytest.raises(WithheldError):
        here.release(trained.before, trained.after, NoDefense())
    assert here.ledger.entries()[0].reason == "KeyError"
    assert "patient" not in caplog.text


def test_a_message_that_never_left_makes_room_for_the_next(site_file, trained, monkeypatch):
    here = site(site_file)
    with monkeypatch.context() as patch:
        patch.setattr("leakward.live.ledger.Ledger.append", lambda *_: (_ for _ in ()).throw(OSError()))
        with pytest.raises(WithheldError):
            here.release(trained.before, trained.after, NoDefense())
    here.release(trained.before, trained.after, NoDefense())
    assert [entry.sent for entry in here.ledger.entries()] == [True]
