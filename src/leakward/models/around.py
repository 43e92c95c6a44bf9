"""Networks built around an agreed one, so that a capture or a cell can build them again from plain values.

The agreed network is an option of the one around it, ``agreed``, and its own options are ``agreed.width`` and so on; a
network around that one adds another ``agreed.``.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from leakward.models.build import find_factory
from leakward.models.task import TaskSpec

AGREED = "agreed"
Plain = int | float | str | bool


def around(spec: TaskSpec, factory: str, **options: Plain) -> TaskSpec:
    """Return the spec of the network that ``factory``, as in ``TaskSpec.model``, builds around that of ``spec``."""
    inner = {f"{AGREED}.{name}": value for name, value in spec.options.items()}
    return replace(spec, model=factory, options={**options, AGREED: spec.model, **inner})


def build_agreed(input_shape: tuple[int, int, int], num_classes: int, options: Mapping[str, Plain]) -> nn.Module:
    """Build the agreed network of ``options``, as ``around`` has put it there."""
    inner = {name.removeprefix(f"{AGREED}."): v for name, v in options.items() if name != AGREED}
    model = find_factory(str(options[AGREED]))(input_shape, num_classes, **inner)
    assert isinstance(model, nn.Module)  # it has been built before
    return model
