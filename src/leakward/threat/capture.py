"""Capture files: an ``Observation`` on disk, so that a message of a real federation can be audited later.

A capture is a folder with ``capture.json`` (plain values) and ``tensors.safetensors``. Nothing in it can run code. It holds
what the adversary may hold; private images never enter it.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from leakward import registry
from leakward.errors import CaptureError, LeakwardError
from leakward.federated import Chain, Defense, LocalTraining, Update
from leakward.models import Task, TaskSpec, build_task
from leakward.settings import parse, plain_fields, tensor_fields
from leakward.threat.model import ThreatModel
from leakward.threat.observation import Observation
from leakward.types import Tensors

SCHEMA = 1
JSON, TENSORS = "capture.json", "tensors.safetensors"


def save_capture(observation: Observation, folder: Path) -> None:
    """Write ``observation`` into ``folder``, which appears whole or not at all.

    Raises:
        CaptureError: If ``folder`` exists.
    """
    if folder.exists():
        raise CaptureError(f"capture {folder}: expected a new folder, but it exists; choose another name")
    tensors = _prefixed("state", observation.state) | _prefixed("update", observation.update.tensors)
    tensors |= _prefixed("buffers", observation.update.buffers)
    tensors |= _prefixed("draw", {str(i): value for i, value in enumerate(observation.randomness or ())})
    if observation.labels is not None:
        tensors["labels"] = observation.labels
    defenses = []
    for i, part in enumerate(_parts(observation.defense)):
        defenses.append({"name": _name(part)} | plain_fields(part))
        tensors |= _prefixed(f"defense.{i}", tensor_fields(part))
    facts = {
        "schema": SCHEMA,
        "task": asdict(observation.task.spec),
        "recipe": asdict(observation.recipe),
        "threat": asdict(observation.threat),
        "images": observation.update.images,
        "defenses": defenses,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".capture-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        (made / JSON).write_text(json.dumps(facts, indent=2), encoding="utf-8")
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, made / TENSORS)
        os.replace(made, folder)


def load_capture(folder: Path) -> Observation:
    """Read a capture and check that it is whole.

    Raises:
        CaptureError: If a file or tensor is missing, has the wrong shape, or is not finite.
    """
    facts, tensors = _read_json(folder / JSON), _read_tensors(folder / TENSORS)
    if facts.get("schema") != SCHEMA:
        raise CaptureError(f"capture {folder}: expected schema {SCHEMA}, got {facts.get('schema')!r}; save it again")
    spec = _part(TaskSpec, facts, "task", folder)
    recipe, threat = _part(LocalTraining, facts, "recipe", folder), _part(ThreatModel, facts, "threat", folder)
    try:
        task = build_task(spec)
    except LeakwardError as error:
        raise CaptureError(f"capture {folder}: its model cannot be built: {error}") from error
    state = _own(tensors, "state")
    update = Update(_own(tensors, "update"), _count(facts, folder), recipe.share, _own(tensors, "buffers"))
    draws = _own(tensors, "draw")
    observation = Observation(
        threat, task, state, recipe, update, _defense(facts, tensors, folder), tensors.get("labels"),
        tuple(draws[str(i)] for i in range(len(draws))) if threat.knowledge == "oracle" else None,
    )  # fmt: skip
    _require_whole(observation, folder)
    return observation


def _require_whole(observation: Observation, folder: Path) -> None:
    task, state, update = observation.task, observation.state, observation.update
    expected = {name: value.shape for name, value in task.model.state_dict().items()}
    trained = {name: expected[name] for name in task.parameter_names}
    for what, shapes, found in (("state", expected, state), ("update", trained, update.tensors)):
        missing = sorted(shapes.keys() - found.keys())
        if missing:
            raise CaptureError(f"capture {folder}: the {what} lacks the tensor {missing[0]!r}; capture the round again")
        for name, value in found.items():
            if name not in shapes or value.shape != shapes[name]:
                wanted = tuple(shapes[name]) if name in shapes else "no such tensor"
                raise CaptureError(
                    f"capture {folder}: {what} tensor {name!r}: expected {wanted}, got {tuple(value.shape)}; "
                    "state, update and model must be of one federation"
                )
            if not torch.isfinite(value).all():
                raise CaptureError(f"capture {folder}: {what} tensor {name!r} holds NaN or infinity; capture again")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"capture file {path}: expected readable JSON, got: {error}; capture again") from error
    if not isinstance(facts, dict):
        raise CaptureError(f"capture file {path}: expected a JSON object; capture again")
    return facts


def _read_tensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"capture file {path}: expected a safetensors file, got: {error}; capture again") from error


def _part(kind: type[Any], facts: Mapping[str, Any], key: str, folder: Path) -> Any:
    table = facts.get(key)
    made, problems = parse(kind, table, key) if isinstance(table, dict) else (None, [f"{key}: expected a table"])
    if problems:
        raise CaptureError(f"capture {folder}: {'; '.join(problems)}")
    return made


def _defense(facts: Mapping[str, Any], tensors: Tensors, folder: Path) -> Defense:
    parts: list[Defense] = []
    for i, table in enumerate(facts.get("defenses", [])):
        settings = dict(table)
        kind = registry.load("defenses", settings.pop("name"))
        part = _part(kind, {"defense": settings}, "defense", folder)
        parts.append(replace(part, **_own(tensors, f"defense.{i}")))
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))


def _count(facts: Mapping[str, Any], folder: Path) -> int:
    count = facts.get("images")
    if not isinstance(count, int) or count < 1:
        raise CaptureError(f"capture {folder}: expected images to be a whole number of at least 1, got {count!r}")
    return count


def _parts(defense: Defense) -> tuple[Defense, ...]:
    return defense.parts if isinstance(defense, Chain) else (defense,)


def _name(defense: Defense) -> str:
    return registry.name_of("defenses", type(defense))


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def _own(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(f"{prefix}/"): v for name, v in tensors.items() if name.startswith(f"{prefix}/")}
