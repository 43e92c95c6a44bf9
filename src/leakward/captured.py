"""Attacking a captured update, outside any plan: there is no truth to score against."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from leakward import registry
from leakward.attacks import Reconstruction, Status
from leakward.errors import LeakwardError, PlanError
from leakward.settings import parse
from leakward.threat import Observation, load_capture
from leakward.types import Tensors, generator


def attack_capture(
    capture: Path,
    name: str,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    device: str,
    seed: int,
    progress: Callable[[str, float], None],
) -> Reconstruction:
    """Attack the update in ``capture`` and write every recovered image to ``folder`` as PNG and safetensors.

    Raises:
        LeakwardError: If the capture is broken, the attack is unknown or does not apply, or it found nothing finite.
    """
    made, problems = parse(registry.load("attacks", name), settings, name)
    if made is None:
        raise PlanError("; ".join(problems))
    observation = _moved(load_capture(capture), torch.device(device))
    found = made.recover([observation], generator(seed), lambda fraction: progress(name, fraction))[0]
    if found.status == Status.NOT_APPLICABLE:
        raise LeakwardError(f"{name} does not apply to this capture; 'leakward list attacks' says what each one needs")
    if found.images is None or found.labels is None:
        raise LeakwardError(f"{name} met values that are not finite; run 'leakward doctor {capture}'")
    folder.mkdir(parents=True, exist_ok=True)
    images = found.images.cpu()
    save_file({"images": images.contiguous(), "labels": found.labels.cpu()}, folder / "reconstruction.safetensors")
    for number, image in enumerate(images):
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()
        Image.fromarray(pixels).save(folder / f"image-{number}-class-{int(found.labels[number])}.png")
    return found


def _moved(observation: Observation, device: torch.device) -> Observation:
    def move(tensors: Tensors) -> Tensors:
        return {name: value.to(device) for name, value in tensors.items()}

    update = replace(
        observation.update, tensors=move(observation.update.tensors), buffers=move(observation.update.buffers)
    )
    labels = None if observation.labels is None else observation.labels.to(device)
    return replace(observation, state=move(observation.state), update=update, labels=labels)
