"""Capture files: an ``Observation`` on disk, so that a message of a real federation can be audited later.

A capture is a folder with ``capture.json`` (plain values) and ``tensors.safetensors``; neither holds code, and private
images never enter it. A network of your own (``package.module:factory``) is imported from your Python path.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from leakward import registry
from leakward.errors import CaptureError, LeakwardError, brief
from leakward.federated import Chain, Defense, LocalTraining, Update
from leakward.federated.chain import parts_of
from leakward.fields import MOST
from leakward.models import Task, TaskSpec, build_task
from leakward.settings import Settings, parse, plain_fields, tensor_fields
from leakward.threat import capture_tensors
from leakward.threat.model import ThreatModel
from leakward.threat.observation import Observation
from leakward.types import Tensors

SCHEMA = 1
JSON, TENSORS = "capture.json", "tensors.safetensors"


def save_capture(observation: Observation, folder: Path) -> None:
    """Write ``observation`` into ``folder``, which appears whole or not at all.

    Raises:
        CaptureError: If ``folder`` exists or cannot be written, or if ``observation`` could not be loaded again.
    """
    if folder.exists():
        raise CaptureError(f"capture {folder}: expected a new folder, but it exists; choose another name")
    parts = parts_of(observation.defense)
    facts = {
        "schema": SCHEMA,
        "task": asdict(observation.task.spec),
        "recipe": asdict(observation.recipe),
        "threat": asdict(observation.threat),
        "images": observation.update.images,
        "defenses": [{"name": registry.name_of("defenses", type(part))} | plain_fields(part) for part in parts],
    }
    tensors = capture_tensors.lay_out(observation, [tensor_fields(part) for part in parts])
    capture_tensors.check(observation, tensors, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".capture-") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            (made / JSON).write_text(json.dumps(facts, indent=2), encoding="utf-8")
            capture_tensors.write(tensors, made / TENSORS)
            os.replace(made, folder)
    except OSError as error:
        raise CaptureError(f"capture {folder}: expected a place to write to, got: {error}; choose another") from error


def load_capture(folder: Path) -> Observation:
    """Read a capture and check that it is whole.

    Raises:
        CaptureError: If a file or tensor is missing, is not what the model, recipe and threat model ask for, or is not
            finite.
    """
    facts = _read_json(folder / JSON)
    if facts.get("schema") != SCHEMA:
        raise CaptureError(
            f"capture {folder}: expected schema {SCHEMA}, got {brief(facts.get('schema'))}; save it again"
        )
    try:
        observation = _without_tensors(facts, folder / TENSORS)
        tensors = capture_tensors.read(observation, folder / TENSORS)
        observation = _with_tensors(observation, tensors)
        capture_tensors.check(observation, tensors, folder)
    except CaptureError:
        raise
    except LeakwardError as error:
        raise CaptureError(f"capture {folder}: {error}") from error
    return observation


def _without_tensors(facts: Mapping[str, Any], file: Path) -> Observation:
    """Return what ``capture.json`` says, with nothing where the tensors of ``file`` belong."""
    recipe, threat = _table(LocalTraining, facts, "recipe"), _table(ThreatModel, facts, "threat")
    return Observation(
        threat=threat,
        task=_task(_table(TaskSpec, facts, "task"), file),
        state={},
        recipe=recipe,
        update=Update({}, _images(facts, threat.clients), recipe.share),
        defense=_chain([_defense(i, table) for i, table in enumerate(_defense_tables(facts))]),
    )


def _task(spec: TaskSpec, file: Path) -> Task:
    """Build the network, but none of ours that has more numbers than ``file`` can hold: nothing is allocated for it."""
    if ":" not in spec.model:
        with torch.device("meta"):
            numbers = sum(value.numel() for value in build_task(spec).model.state_dict().values())
        if numbers > (size := capture_tensors.size(file)):
            raise CaptureError(
                f"capture file {file}: expected a safetensors file with the {numbers} numbers of "
                f"{spec.model!r} for images of shape {spec.input_shape}, got {size} bytes; capture the round again"
            )
    return build_task(spec)


def _with_tensors(observation: Observation, tensors: Tensors) -> Observation:
    own, threat = capture_tensors.own, observation.threat
    parts: list[Any] = [*parts_of(observation.defense)]
    parts = [replace(part, **own(tensors, f"defense.{i}")) for i, part in enumerate(parts)]
    draws = own(tensors, "draw")
    return replace(
        observation,
        state=own(tensors, "state"),
        update=replace(observation.update, tensors=own(tensors, "update"), buffers=own(tensors, "buffers")),
        defense=_chain(parts),
        labels=tensors.get("labels"),
        randomness=tuple(draws[i] for i in sorted(draws, key=int)) if threat.knowledge == "oracle" else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CaptureError(f"capture file {path}: expected readable JSON, got: {error}; capture again") from error
    if not isinstance(facts, dict):
        raise CaptureError(f"capture file {path}: expected a JSON object, got {type(facts).__name__}; capture again")
    return facts


def _table(kind: type[Settings], facts: Mapping[str, Any], key: str) -> Settings:
    table = facts.get(key)
    if not isinstance(table, dict):
        raise CaptureError(f"capture.json: expected a table {key!r}, got {brief(table)}; capture again")
    return _made(kind, table, key)


def _made(kind: type[Settings], table: Mapping[str, Any], place: str) -> Settings:
    made, problems = parse(kind, table, place)
    if made is None:
        raise CaptureError(f"capture.json: {'; '.join(problems)}")
    return made


def _images(facts: Mapping[str, Any], clients: int) -> int:
    count = facts.get("images")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
        raise CaptureError(f"capture.json: expected images to be a whole number of at least 1, got {brief(count)}")
    if count % clients:
        raise CaptureError(f"capture.json: expected images to be as many for each of {clients} clients, got {count}")
    return count


def _defense_tables(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = facts.get("defenses")
    if not isinstance(tables, list) or not all(isinstance(t, dict) and isinstance(t.get("name"), str) for t in tables):
        raise CaptureError(f"capture.json: expected defenses to be a list of tables with a name, got {brief(tables)}")
    return tables


def _defense(position: int, table: Mapping[str, Any]) -> Defense:
    settings = {key: value for key, value in table.items() if key != "name"}
    return _made(registry.load("defenses", table["name"]), settings, f"defenses[{position}]")


def _chain(parts: list[Defense]) -> Defense:
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))
