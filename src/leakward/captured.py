"""Attacking a captured update, outside any plan: there is no truth to score against."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from leakward import registry
from leakward.attacks import Reconstruction, Status
from leakward.auditing.facts import device as device_named
from leakward.data import load_data
from leakward.errors import DataError, LeakwardError, PlanError
from leakward.settings import parse
from leakward.threat import Observation, load_capture
from leakward.types import Batch, Tensors, generator


def attack_capture(
    capture: Path,
    name: str,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    device: str,
    seed: int,
    public: str | None,
    progress: Callable[[str, float], None],
) -> Reconstruction:
    """Attack the update in ``capture`` and write every recovered image to ``folder`` as safetensors, and as PNG.

    There is no PNG where an image has neither one channel nor three. ``public`` names a data set, whose split ``val``
    the attacker holds.

    Raises:
        LeakwardError: If the capture is broken, the attack is unknown or does not apply, or it found nothing finite.
    """
    made, problems = parse(registry.load("attacks", name), settings, name)
    if made is None:
        raise PlanError("; ".join(problems))
    if folder.exists() and not folder.is_dir():
        raise LeakwardError(f"--out {folder}: expected a folder to write to, got a file; choose another")
    observation = load_capture(capture)
    if public is not None:
        observation = _with_public(observation, public)
    observation = _moved(observation, device_named(device))
    found = made.recover([observation], generator(seed), lambda fraction: progress(name, fraction))[0]
    if found.status == Status.NOT_APPLICABLE:
        hint = "" if public or "public" not in made.needs else ", or name public images by --public"
        raise LeakwardError(f"{name} does not apply to this capture; try another of 'leakward list attacks'{hint}")
    if found.images is None or found.labels is None:
        raise LeakwardError(f"{name} met values that are not finite; run 'leakward doctor {capture}'")
    try:
        _write(found.images.cpu(), found.labels.cpu(), folder)
    except (OSError, SafetensorError) as error:
        raise LeakwardError(f"--out {folder}: expected a folder to write to: {error}; choose another") from error
    return found


def _with_public(observation: Observation, name: str) -> Observation:
    """Return the observation with public images of the size of its task."""
    size = observation.task.spec.input_shape
    images, labels = load_data(name, size=size[1]).subset("val")
    if images.shape[1:] != size:
        raise DataError(
            f"--public {name}: expected images of shape {size}, as the model of the capture takes them, got "
            f"{tuple(images.shape[1:])}; name another data set"
        )
    threat = replace(observation.threat, public=True)
    return replace(observation, threat=threat, public=Batch(images, labels))


def _write(images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"], folder: Path) -> None:
    """Write all files first, and then put them in the place of those of an earlier attack."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".attack-") as scratch:
        save_file({"images": images.contiguous(), "labels": labels}, Path(scratch) / "reconstruction.safetensors")
        for number, image in enumerate(images if images.shape[1] in (1, 3) else ()):
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()
            Image.fromarray(pixels).save(Path(scratch) / f"image-{number}-class-{int(labels[number])}.png")
        for old in folder.glob("image-*-class-*.png"):
            old.unlink()
        for new in sorted(Path(scratch).iterdir()):
            os.replace(new, folder / new.name)


def _moved(observation: Observation, device: torch.device) -> Observation:
    def move(tensors: Tensors) -> Tensors:
        return {name: value.to(device) for name, value in tensors.items()}

    update = replace(
        observation.update, tensors=move(observation.update.tensors), buffers=move(observation.update.buffers)
    )
    labels = None if observation.labels is None else observation.labels.to(device)
    public = observation.public
    public = None if public is None else Batch(public.images.to(device), public.labels.to(device))
    return replace(observation, state=move(observation.state), update=update, labels=labels, public=public)
