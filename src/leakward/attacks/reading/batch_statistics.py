"""What the attacker knows of the statistics that BatchNorm layers see of a batch (``leakward.models.statistics``).

Where a client sends no buffers, the running statistics before the round are all that is known: those of everybody's
images.
"""

from collections.abc import Sequence

from torch.func import vmap

from leakward.attacks.searching.replay import Victims
from leakward.attacks.solvers.problem import Victim
from leakward.errors import ModelError
from leakward.models import Task
from leakward.models.statistics import Layer, batch_statistics, batchnorm_layers
from leakward.threat import Observation
from leakward.types import Tensors


def known_layers(task: Task, observations: Sequence[Observation]) -> tuple[Layer, ...]:
    """Return the layers of which every observation tells something that can be compared with a candidate.

    Left out are layers that have seen no batch yet. If no buffers were sent, there are none either where a pass in
    train mode is impossible: dropout has no place in it, and neither have channels of a single value.
    """
    layers = tuple(layer for layer in batchnorm_layers(task) if all(_has_seen(layer, o) for o in observations))
    possible = all(o.update.buffers or _can_train(task, o) for o in observations[:1])
    return layers if possible else ()


def observed_statistics(layers: Sequence[Layer], victims: Victims) -> Tensors:
    """Return what is known of the statistics of every victim's batch, each (v c).

    From buffers that were sent, the statistics of the batch itself; else the running statistics before the round.
    """

    def one(victim: Victim) -> Tensors:
        state = victim.get("state", victims.replay.state)
        if "buffers" in victim:
            return batch_statistics(layers, state, victim["buffers"])
        return {name: state[name] for layer in layers for name in layer.statistics}

    return vmap(one)(victims.tensors)


def _has_seen(layer: Layer, observation: Observation) -> bool:
    held = observation.update.buffers or observation.state
    return {*layer.statistics, layer.batches} <= held.keys() and bool(held[layer.batches] > 0)


def _can_train(task: Task, observation: Observation) -> bool:
    images = next(iter(observation.state.values())).new_zeros(observation.shape)
    try:
        task.forward(observation.state, images, mode="train")
    except ModelError:
        return False
    return True
