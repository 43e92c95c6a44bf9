"""Networks that are a plain sequence of layers, which is all that attacks from layer to layer can read."""

import math

from torch import nn

from leakward.models import SplitModel, Task


def sequence(task: Task) -> list[tuple[str, nn.Module]] | None:
    """Return name and layer in the order they act; None where some part may do more than run its parts in order."""
    modules = [*task.model.named_modules(remove_duplicate=False)]
    whole = [module for _, module in modules if [*module.children()]]
    if any(type(module) not in (nn.Sequential, SplitModel) for module in whole):
        return None
    return [(name, module) for name, module in modules if not [*module.children()]]


def first_linear(task: Task, then: type[nn.Module] | None = None) -> str | None:
    """Return the name of the first layer if it is linear with bias, trained, and sees the whole image; else None.

    Layers are taken in the order in which the network declares them.

    Args:
        task: The network.
        then: What has to follow the layer; None for anything.
    """
    leaves = [(name, layer) for name, layer in task.model.named_modules() if not [*layer.children()]]
    leaves = [(name, layer) for name, layer in leaves if not isinstance(layer, nn.Flatten | nn.Identity)]
    name, layer = leaves[0]
    fits = isinstance(layer, nn.Linear) and layer.in_features == math.prod(task.spec.input_shape)
    trained = {f"{name}.weight", f"{name}.bias"} <= {*task.parameter_names}
    follows = then is None or (len(leaves) > 1 and isinstance(leaves[1][1], then))
    return name if fits and trained and follows else None
