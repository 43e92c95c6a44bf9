"""From a ``TaskSpec`` to a ``Task``, and to the state its training starts from."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from leakward import registry
from leakward.errors import LeakwardError, ModelError, brief
from leakward.models.batchnorm import replace_batchnorm
from leakward.models.task import Task, TaskSpec
from leakward.types import Tensors, generator

Factory = Callable[..., object]


def build_task(spec: TaskSpec) -> Task:
    """Build the task and try it once on an empty image.

    Raises:
        ModelError: If the factory cannot be found or called, or its output does not fit ``spec``.
    """
    model = _build(spec, generator(0))
    task = Task(spec, model)
    try:
        logits, _ = task.forward(dict(model.state_dict()), torch.zeros(1, *spec.input_shape))
        shape = logits.shape
    except LeakwardError:
        raise
    except Exception as error:  # a user's network may fail in any way
        raise ModelError(
            f"model {spec.model!r} cannot take an image of shape {spec.input_shape}: {brief(error)}"
        ) from error
    if shape != (1, spec.num_classes):
        raise ModelError(
            f"model {spec.model!r}: expected {spec.num_classes} logits per image, got an output of shape "
            f"{tuple(shape[1:])}; give the factory's network as many outputs as the data has classes"
        )
    return task


def initial_state(task: Task, rng: torch.Generator) -> Tensors:
    """Return the parameters and buffers of a freshly initialised network."""
    model = _build(task.spec, rng)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _build(spec: TaskSpec, rng: torch.Generator) -> nn.Module:
    factory = find_factory(spec.model)
    seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the only place: libraries initialise from the global generator
        try:
            model = factory(spec.input_shape, spec.num_classes, **spec.options)
        except TypeError as error:
            allowed = list(inspect.signature(factory).parameters)[2:]
            raise ModelError(
                f"model {spec.model!r} was called with options {brief(dict(spec.options))}: {brief(error)}; "
                f"allowed: {', '.join(allowed) or 'none'}"
            ) from error
        except Exception as error:  # a user's factory may fail in any way
            raise ModelError(
                f"model {spec.model!r} cannot be built for images of shape {spec.input_shape}, "
                f"{spec.num_classes} classes and options {brief(dict(spec.options))}: {brief(error)}"
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model {spec.model!r}: expected the factory to return a torch.nn.Module, got {type(model).__name__}"
        )
    replace_batchnorm(model)
    return model


def find_factory(name: str) -> Factory:
    """Return the function that builds the network ``name``, as in ``TaskSpec.model``.

    Raises:
        ModelError: If there is none.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        return registry.load("models", name)
    try:
        found: Any = getattr(import_module(module), attribute)
    except Exception as error:  # a user's module may fail in any way when it is imported
        raise ModelError(
            f"model {brief(name)}: expected package.module:factory on the Python path, got: {brief(error)}"
        ) from error
    if not callable(found):
        raise ModelError(f"model {name!r}: expected a function that builds the network, got {type(found).__name__}")
    return found
