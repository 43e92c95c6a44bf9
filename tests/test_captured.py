"""A captured update is attacked outside any plan."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from leakward import cli
from leakward.captured import attack_capture
from leakward.errors import LeakwardError
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.live import PrivateBatch, keep_private_batch
from leakward.live.private import claim
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe, save_capture
from leakward.types import Batch, generator


def silent(what, fraction):
    del what, fraction


def capture(folder, *, model="mlp", shape=(1, 12, 12), images=1):
    """Save the update of one client; return the private images."""
    task = build_task(TaskSpec(model, shape, 3))
    private = torch.rand(images, *shape, generator=generator(1))
    batch = Batch(private, torch.arange(images) % 3)
    recipe = LocalTraining(batch_images=images)
    round_ = run_round(task, initial_state(task, generator(0)), batch, recipe, NoDefense(), generator(2))
    save_capture(observe(round_, ThreatModel()), folder)
    return private


def attack(folder, out, name="analytic-linear", settings=None, seed=0, device="cpu", public=None):
    return attack_capture(folder, name, settings or {}, out, device=device, seed=seed, public=public, progress=silent)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_pictures_are_the_private_images(tmp_path, channels):
    private = capture(tmp_path / "capture", shape=(channels, 12, 12))
    found = attack(tmp_path / "capture", tmp_path / "out")
    kept = load_file(tmp_path / "out" / "reconstruction.safetensors")
    torch.testing.assert_close(kept["images"], private, rtol=0, atol=1e-4)
    assert torch.equal(kept["labels"], torch.tensor([0]))
    assert torch.equal(found.images, kept["images"])
    pictures = ["image-0-class-0.png"] if channels in (1, 3) else []
    assert names(tmp_path / "out") == [*pictures, "reconstruction.safetensors"]
    for name in pictures:
        pixels = np.atleast_3d(np.asarray(Image.open(tmp_path / "out" / name))).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(pixels, private[0], atol=0.6 / 255)


def test_a_site_can_score_it_by_its_own_batch(tmp_path, leakward):
    private = capture(tmp_path / "capture")
    others = torch.rand(19, 1, 12, 12, generator=generator(3))
    keep_private_batch(tmp_path, PrivateBatch(Batch(private, torch.tensor([0])), Batch(others, torch.zeros(19).long())))
    name = claim(tmp_path, "000001")
    told = ("--attack", "analytic-linear", "--out", tmp_path / "out", "--truth", name)
    code, out, _ = leakward("attack", tmp_path / "capture", *told)
    assert code == 0
    assert "identified: 1 of 1 among 20 images of the site" in out
    assert "mean SSIM 1.00" in out


def test_equal_seeds_recover_equal_images_and_others_do_not(tmp_path):
    capture(tmp_path / "capture", images=2)
    settings = {"iterations": 2}
    one, two, other = (
        attack(tmp_path / "capture", tmp_path / name, "inverting-gradients", settings, seed).images
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_public_images_of_the_right_size_help(tmp_path):
    public = {}
    for split in ("train", "val", "test"):
        public[f"{split}_images"] = np.random.default_rng(0).integers(0, 256, (6, 12, 12), dtype=np.uint8)
        public[f"{split}_labels"] = np.arange(6).reshape(-1, 1) % 3
    np.savez(tmp_path / "public.npz", **public)
    capture(tmp_path / "capture", shape=(1, 12, 12))
    with pytest.raises(LeakwardError, match="or name public images by --public"):
        attack(tmp_path / "capture", tmp_path / "out", "gaussian-prior")
    settings, name = {"iterations": 2}, str(tmp_path / "public.npz")
    assert attack(tmp_path / "capture", tmp_path / "out", "gaussian-prior", settings, public=name).status == "ok"
    capture(tmp_path / "colour", shape=(3, 12, 12))
    with pytest.raises(LeakwardError, match=r"expected images of shape \(3, 12, 12\)"):
        attack(tmp_path / "colour", tmp_path / "out", "gaussian-prior", settings, public=name)


def test_pictures_of_an_earlier_attack_do_not_stay(tmp_path):
    capture(tmp_path / "two", images=2)
    attack(tmp_path / "two", tmp_path / "out", "inverting-gradients", {"iterations": 1})
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    (tmp_path / "out" / "notes.txt").write_text("mine")
    capture(tmp_path / "one")
    attack(tmp_path / "one", tmp_path / "out")
    assert names(tmp_path / "out") == ["image-0-class-0.png", "notes.txt", "reconstruction.safetensors"]


def test_failures_are_sentences_and_write_nothing(tmp_path, monkeypatch):
    capture(tmp_path / "capture", images=2)
    one, out = tmp_path / "capture", tmp_path / "out"
    with pytest.raises(LeakwardError, match="analytic-linear does not apply to this capture"):
        attack(one, out)
    with pytest.raises(LeakwardError, match="--device tpu: expected cpu or cuda"):
        attack(one, out, device="tpu")
    with pytest.raises(LeakwardError, match="unknown key 'steps'; allowed: iterations"):
        attack(one, out, "inverting-gradients", {"steps": 3})
    from leakward.attacks import Status
    from leakward.attacks.inverting_gradients import InvertingGradients

    honest = InvertingGradients.attack

    def faulty(self, observations, rng, progress):
        found = honest(self, observations, rng, progress)
        return [replace(f, images=None, labels=None, status=Status.NON_FINITE) for f in found]

    monkeypatch.setattr(InvertingGradients, "attack", faulty)
    with pytest.raises(LeakwardError, match="values that are not finite; run 'leakward doctor"):
        attack(one, out, "inverting-gradients", {"iterations": 1})
    assert names(tmp_path) == ["capture"]


def test_a_full_disk_leaves_the_earlier_result(tmp_path, monkeypatch):
    capture(tmp_path / "capture")
    attack(tmp_path / "capture", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leakward.captured.save_file", full)
    with pytest.raises(LeakwardError, match="No space left on device"):
        attack(tmp_path / "capture", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["leakward", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def test_the_attack_command(tmp_path, monkeypatch, capsys):
    capture(tmp_path / "capture")
    place, out = tmp_path / "capture", tmp_path / "out"
    options = ("--set", "iterations=2", "--seed", 3, "--out", out)
    assert run(monkeypatch, "attack", place, *options) == 0
    printed = capsys.readouterr().out
    assert "inverting-gradients: ok, objective" in printed
    assert "2 evaluations" in printed
    assert str(out) in printed
    assert names(out)[1] == "reconstruction.safetensors"


def test_the_doctor_command(tmp_path, monkeypatch, capsys):
    capture(tmp_path / "capture")
    assert run(monkeypatch, "doctor", tmp_path / "capture") == 0
    printed = capsys.readouterr().out
    assert "FAIL" not in printed
    assert all(name in printed for name in ("names and shapes", "finite values", "signal", "loss", "mode"))
    task = build_task(TaskSpec("mlp", (1, 12, 12), 3))
    batch = Batch(torch.rand(1, 1, 12, 12, generator=generator(1)), torch.tensor([0]))
    round_ = run_round(task, initial_state(task, generator(0)), batch, LocalTraining(), NoDefense(), generator(2))
    seen = observe(round_, ThreatModel())
    silent_update = {name: torch.zeros_like(value) for name, value in seen.update.tensors.items()}
    save_capture(replace(seen, update=replace(seen.update, tensors=silent_update)), tmp_path / "zero")
    assert run(monkeypatch, "doctor", tmp_path / "zero") == 1
    assert "FAIL" in capsys.readouterr().out
