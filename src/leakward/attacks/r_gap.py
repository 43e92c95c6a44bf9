"""R-GAP, the recursive gradient attack on privacy: Zhu and Blaschko 2021 (arXiv:2010.07733), Algorithm 1.

The image is computed, not searched for: from the last layer to the first, the input of a layer is the solution of a
linear system of gradient constraints and weight constraints, which ``recursion`` spells out. With activation a,

    k_d     = dL/dz_d                                                  of the last layer
    x_i     = the least squares of  K_i x_i = dL/dW_i  and  W_i x_i = z_i - b_i
    z_(i-1) = a^-1(x_i)
    k_(i-1) = a'(z_(i-1)) * W_i^T k_i

The paper starts from one logit under logistic loss, and has to find its derivative from ``<dL/dW_d, W_d> = k_d z_d``,
an equation with up to two roots. With k classes, cross-entropy and a last layer with bias there is nothing to find:

    dL/db_d = dL/dz_d = softmax(z_d) - e_y

so that ``k_d`` is sent, its only negative entry names the class, and ``x_d = dL/dW_d^T k_d / |k_d|^2``. Likewise the
bias of a convolution sends ``sum_p k_i[o, p]``; ``k_i`` is moved by as little as makes this hold.

Whether the constraints are enough is counted by ``recursion.rank_analysis``. Where they are not, the shortest solution
is taken; the answer is then no copy of the image, and its objective is thousands of times the 1e-7 of one that is.

| symbol | here |
|---|---|
| x_i, z_i | input of a layer, and its output before the activation |
| W_i, b_i | ``state``; dL/dW_i and dL/db_i are the message |
| K_i | made of k_i by ``constraints`` |
| d | the last layer |

What differs from the authors' code: k classes and biases, as above; double precision; both kinds of constraints are
brought to one scale before they are solved together; where the gradient constraints determine an input by themselves,
they are used alone, as the authors do in linear layers; padding is left out instead of constrained to 0; sigmoid and
tanh as well as LeakyReLU; entries of the message that a known defence made worthless carry no weight. A batch, of which
they show a mixture, is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leakward.attacks.attack import Attack
from leakward.attacks.reading.closed_form import NO_ANSWER, answer, read_evidence, read_state, streams
from leakward.attacks.reading.recursion import Layer, constraints, read_layers, solve
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import TINY
from leakward.attacks.searching.replay import gather
from leakward.attacks.solvers import Progress
from leakward.federated import Evidence, Share
from leakward.threat import Observation
from leakward.types import Tensors

LARGEST = 6144
"""Unknowns of a convolution beyond which its system no longer fits into ordinary memory."""


@dataclass(frozen=True)
class RGAP(Attack):
    """Compute the image layer by layer, from the last to the first."""

    paper: ClassVar[str] = "Zhu and Blaschko 2021, arXiv:2010.07733"
    shares: ClassVar[tuple[Share, ...]] = ("gradient",)
    cost: ClassVar[str] = "least squares per layer"

    def applies(self, observation: Observation) -> bool:
        """Return whether one image's gradient of a network that can be gone back through was seen."""
        layers = read_layers(observation.task)
        return (
            observation.update.images == 1
            and layers is not None
            and all(layer.inputs <= LARGEST for layer in layers if isinstance(layer.module, nn.Conv2d))
        )

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, and the labels where they are not granted."""
        victims = gather(observations, restarts=1, averaged=1, labels=False, dtype=torch.float64)
        found: list[Reconstruction] = []
        for i, (observation, stream) in enumerate(zip(observations, streams(len(observations), rng), strict=True)):
            evidence = read_evidence(observation)
            image = None if evidence is None else _recurse(observation, evidence)
            if evidence is None or image is None:
                found.append(NO_ANSWER)
            else:
                inferred = evidence.message[observation.task.classifier[1]].argmin()[None]
                labels = inferred if observation.labels is None else observation.labels
                found.append(answer(victims, i, image, labels, stream))
            progress((i + 1) / len(observations))
        return found


def _recurse(observation: Observation, evidence: Evidence) -> Float[Tensor, "1 c h w"] | None:
    """Return the image, or None where the loss says nothing about it."""
    state = read_state(observation)
    *hidden, last = read_layers(observation.task) or []
    k = evidence.message[f"{last.name}.bias"]
    after, back = _back(last, state, evidence, k, k)
    for layer in reversed(hidden):
        before, slope = layer.undo_activation(after)
        k = _as_sent(back * slope, layer, evidence)
        if not (torch.isfinite(k).all() and torch.isfinite(before).all() and k.any()):
            return None
        after, back = _back(layer, state, evidence, before, k)
    return observation.task.denormalize(after.view(observation.shape))


def _as_sent(k: Float[Tensor, " op"], layer: Layer, evidence: Evidence) -> Float[Tensor, " op"]:
    """Return ``k`` moved to where its sums over the places are the gradient of the biases."""
    name = f"{layer.name}.bias"
    if name not in evidence.message:
        return k
    sums, trust = evidence.message[name], evidence.weight[name]
    places = k.view(len(sums), -1)
    return (places + (trust * (sums - places.sum(1)) / places.shape[1])[:, None]).flatten()


def _back(
    layer: Layer, state: Tensors, evidence: Evidence, before: Tensor, k: Float[Tensor, " op"]
) -> tuple[Float[Tensor, " chw"], Float[Tensor, " chw"]]:
    """Return the input of a layer, and the gradient of the loss with respect to it.

    Of a linear layer the gradient constraints are enough, each input on its own.
    """
    name = f"{layer.name}.weight"
    kernel, sent, trust = state[name], evidence.message[name], evidence.weight[name]
    if isinstance(layer.module, nn.Linear):
        return k @ (trust * sent) / (k.square() @ trust).clamp_min(TINY), kernel.T @ k
    bias = state.get(f"{layer.name}.bias", torch.zeros(len(kernel)).to(kernel))
    gradient, weight = constraints(layer, kernel, k.view(len(kernel), -1))
    by_channel, trust = (value.transpose(0, 1).flatten(1) for value in (sent, trust))
    output = (before.view(len(kernel), -1) - bias[:, None]).flatten()
    return solve(gradient, by_channel, trust, weight, output), weight.T @ k
