"""The tensors of a capture: their names in the file, and what each has to be.

| name | what |
|---|---|
| ``state/*``, ``update/*``, ``buffers/*`` | weights before the round, the message, and the buffers sent with it |
| ``labels``, ``draw/0`` ... | only under a threat model that grants them |
| ``defense.0/*`` ... | fitted tensors of each defence |

What the header says is checked before anything is read, so that a file of the wrong size is never loaded.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from leakward.errors import CaptureError
from leakward.federated import group_update
from leakward.federated.agreement import require_agreed
from leakward.federated.chain import parts_of
from leakward.settings import plain_fields
from leakward.tape import Tape
from leakward.threat.observation import Observation
from leakward.types import Tensors, generator

Shape = tuple[int, ...]
Header = tuple[Shape, bool]
"""Shape, and whether the numbers are floating."""
Slice = Any
"""A tensor of an open safetensors file, not yet read."""
FLOATING, WHOLE = ("F64", "F32", "F16", "BF16"), ("I64", "I32", "I16", "I8", "U8")


def lay_out(observation: Observation, fitted: Sequence[Tensors]) -> Tensors:
    """Return every tensor of ``observation`` by its name in the file; ``fitted`` are those of each defence."""
    tensors = _prefixed("state", observation.state) | _prefixed("update", observation.update.tensors)
    tensors |= _prefixed("buffers", observation.update.buffers)
    tensors |= _prefixed("draw", {str(i): value for i, value in enumerate(observation.randomness or ())})
    for i, part in enumerate(fitted):
        tensors |= _prefixed(f"defense.{i}", part)
    return tensors if observation.labels is None else tensors | {"labels": observation.labels}


def own(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors under ``prefix``, without it."""
    return {name.removeprefix(f"{prefix}/"): v for name, v in tensors.items() if name.startswith(f"{prefix}/")}


def write(tensors: Tensors, path: Path) -> None:
    """Write a safetensors file; tensors that share memory, or lie on another device, are copied."""
    save_file({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, path)


def read(observation: Observation, path: Path) -> Tensors:
    """Read the tensors that belong to ``observation``, whose own are not there yet.

    Raises:
        CaptureError: If the file is none, or its header says that a tensor is missing, not asked for, or of another
            shape or type of number.
    """
    with _readable(path), safe_open(path, framework="pt") as file:
        _check_headers(observation, {name: _header(file.get_slice(name), path) for name in file.keys()}, path)  # noqa: SIM118
        return {name: file.get_tensor(name) for name in _in_order(observation, file.keys())}


def size(path: Path) -> int:
    """Return the bytes of a file of tensors.

    Raises:
        CaptureError: If there is none.
    """
    with _readable(path):
        return path.stat().st_size


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """Say in one sentence what is wrong with a file that cannot be read as tensors."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"capture file {path}: expected a safetensors file, got: {error}; capture again") from error


def check(observation: Observation, tensors: Tensors, place: Path) -> None:
    """Raise ``CaptureError`` unless ``tensors``, those of ``observation``, are what it asks for, and finite.

    Raises:
        DefenseError: If the defence would have changed the recipe, or does not fit the network.
    """
    _check_headers(observation, {n: (tuple(v.shape), v.is_floating_point()) for n, v in tensors.items()}, place)
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CaptureError(f"capture {place}: tensor {name!r} holds NaN or infinity; capture the round again")
    require_agreed(observation.recipe, observation.defense)
    classes, labels = observation.task.spec.num_classes, observation.labels
    if labels is not None and (labels.min() < 0 or labels.max() >= classes):
        raise CaptureError(f"capture {place}: expected labels 0 to {classes - 1}, got {labels.tolist()}")
    _check_draws(observation, place)


def _check_headers(observation: Observation, found: Mapping[str, Header], place: Path) -> None:
    required, allowed = _required(observation), _allowed(observation)
    for name in sorted(required.keys() - found.keys()):
        raise CaptureError(f"capture {place}: expected a tensor {name!r}, got none; capture the round again")
    for name, (shape, floating) in found.items():
        expected = (required | allowed).get(name)
        if expected is None and not _is_fitted(observation, name) and not _is_draw(observation, name):
            raise CaptureError(f"capture {place}: expected no tensor {name!r} under this recipe and threat model")
        if expected is not None and expected[0] != shape:
            raise CaptureError(
                f"capture {place}: tensor {name!r}: expected shape {expected[0]}, got {shape}; "
                "state, update and model must be of one federation"
            )
        if floating != (expected is None or expected[1]):
            wanted, got = ("whole", "floating") if floating else ("floating", "whole")
            raise CaptureError(f"capture {place}: tensor {name!r}: expected {wanted} numbers, got {got} ones")


def _in_order(observation: Observation, names: Iterable[str]) -> list[str]:
    """Return names in the order of the network, which a file does not keep; others after them, by the alphabet."""
    known = {name: place for place, name in enumerate([*_required(observation), *_allowed(observation)])}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


def _required(observation: Observation) -> dict[str, Header]:
    task = observation.task
    state = {n: (tuple(v.shape), v.is_floating_point()) for n, v in task.model.state_dict().items()}
    labels = {"labels": ((observation.update.images,), False)} if observation.threat.labels else {}
    trained = {f"update/{name}": state[name] for name in task.parameter_names}
    return {f"state/{name}": header for name, header in state.items()} | trained | labels


def _allowed(observation: Observation) -> dict[str, Header]:
    if observation.recipe.mode != "train":
        return {}
    trained, state = {*observation.task.parameter_names}, observation.task.model.state_dict()
    return {f"buffers/{n}": (tuple(v.shape), v.is_floating_point()) for n, v in state.items() if n not in trained}


def _is_fitted(observation: Observation, name: str) -> bool:
    prefix, _, field = name.partition("/")
    mine: list[Any] = [part for i, part in enumerate(parts_of(observation.defense)) if prefix == f"defense.{i}"]
    return any(field in {f.name for f in fields(part) if f.init} - plain_fields(part).keys() for part in mine)


def _is_draw(observation: Observation, name: str) -> bool:
    prefix, _, number = name.partition("/")
    return observation.threat.knowledge == "oracle" and prefix == "draw" and number.isdecimal()


def _check_draws(observation: Observation, place: Path) -> None:
    """Under ``oracle``, let the client run once on empty images: it says which draws it asks for."""
    if observation.randomness is None:
        observation.defense.on_task(observation.task)  # refuses fitted tensors of another shape
        return
    tape = Tape(generator(0))
    labels = torch.zeros(observation.update.images, dtype=torch.long)
    seen = observation
    images, clients = torch.zeros(seen.shape), seen.threat.clients
    group_update(seen.task, seen.state, images, labels, seen.recipe, seen.defense, tape, clients)
    wanted, found = [d.shape for d in tape.draws], [tuple(v.shape) for v in observation.randomness]
    if wanted != found:
        raise CaptureError(f"capture {place}: expected random draws of shapes {wanted}, got {found}; capture again")


def _header(part: Slice, path: Path) -> Header:
    shape, kind = tuple(part.get_shape()), part.get_dtype()
    if kind not in FLOATING + WHOLE:
        raise CaptureError(f"capture file {path}: expected numbers of type {', '.join(FLOATING + WHOLE)}, got {kind}")
    return shape, kind in FLOATING


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}
