"""SPEAR, exact gradient inversion of batches: Dimitrov, Baader, Mueller and Vechev 2024 (arXiv:2403.03945).

If a network begins with a linear layer with bias and ReLU, the gradient of a batch has the rank of its b images, and
ReLU leaves about half of each image's part of it zero. That is enough to take the sum apart, with no search for pixels:

    dL/dW = L R,   dL/dZ = L Q,   X^T = Q^-1 R                          low-rank factors, and what they lack
    q_i   = the kernel of b - 1 rows of L                               of random rows, kept if L q_i is sparse
    Q     = the b directions of the largest lambda                      exchanged greedily
    dL/db = L Q 1                                                       gives the columns of Q their lengths

``lambda`` is the share of units and images where ``dL/dZ`` is zero just where ``W X + b <= 0``; it is 1 for the truth,
and the draws end there. Their number grows about as 2^(b - 1), and faster where many units let every image pass: that
is so for bright images that are not normalised to a mean of 0.

The exact images tell the labels: of the k gradients ``dL/dZ`` that an image can cause, one for each class, the one
found names the class. Granted labels are kept, and the images put in their order.

| symbol | here |
|---|---|
| W, b, dL/dW, dL/db | first layer of ``state`` and message |
| L, R, Q, lambda | ``disaggregation`` |
| N, draws at most | ``evaluations`` |
| zero | a share of ``tolerance`` of the largest entry of its column, or four times the noise |

Images that depend on each other, or one twice in a batch, lower the rank: what is left is found, and any place without
an image of its own holds the one mixture of the batch that is certain, ``dL/dW^T dL/db / |dL/db|^2``. If the draws end
without b directions that agree, the best are returned. The objective tells both from the truth, where it is 1e-7.

What differs from the paper: a direction is fitted to all rows that it makes zero, which is what single-precision
messages need; it is dropped if those rows would not fix it without one of them, which is what a kernel of random rows
mostly looks like; the sparsest are kept, where the paper has a threshold. The authors' code was not at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import grad, vmap

from leakward.attacks.attack import Attack
from leakward.attacks.reading.closed_form import NO_ANSWER, answer, read_evidence, read_state, streams
from leakward.attacks.reading.disaggregation import disaggregate, factorise
from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.reading.sequence import first_linear
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import TINY
from leakward.attacks.searching.replay import Victims, gather, labels_known
from leakward.attacks.solvers import Progress
from leakward.federated import Share
from leakward.fields import check, positive, whole
from leakward.threat import Observation


@dataclass(frozen=True)
class SPEAR(Attack):
    """Take the gradient of the first layer apart into its images.

    Attributes:
        evaluations: Random submatrices to draw at most, at least 1.
        tolerance: Share of the largest entry of a column below which others count as zero, above 0.
    """

    evaluations: int = 100_000
    tolerance: float = 1e-6

    paper: ClassVar[str] = "Dimitrov et al. 2024, arXiv:2403.03945"
    shares: ClassVar[tuple[Share, ...]] = ("gradient",)
    cost: ClassVar[str] = "100,000 kernels of small matrices"

    def __post_init__(self) -> None:
        check(self, whole("evaluations", self.evaluations), positive("tolerance", self.tolerance))

    def applies(self, observation: Observation) -> bool:
        """Return whether a linear layer with bias and ReLU sees the images first, and has units enough for them."""
        name = first_linear(observation.task, nn.ReLU)
        mixed = observation.recipe.mode == "train" and observation.task.has_batchnorm
        if name is None or mixed or not labels_known(observation):
            return False
        return observation.update.images <= min(observation.update.tensors[f"{name}.weight"].shape)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, and the labels where they are not granted."""
        victims = gather(observations, restarts=1, averaged=1, labels=False, dtype=torch.float64)
        found: list[Reconstruction] = []
        for i, (observation, stream) in enumerate(zip(observations, streams(len(observations), rng), strict=True)):
            found.append(self._recover(observation, victims, i, stream))
            progress((i + 1) / len(observations))
        return found

    def _recover(self, observation: Observation, victims: Victims, index: int, rng: torch.Generator) -> Reconstruction:
        evidence, state = read_evidence(observation), read_state(observation)
        name = first_linear(observation.task, nn.ReLU)
        if evidence is None or not any(value.any() for value in evidence.message.values()):
            return NO_ANSWER
        gradient, sums = (evidence.message[f"{name}.{part}"] for part in ("weight", "bias"))
        weight, bias = (state[f"{name}.{part}"] for part in ("weight", "bias"))
        factors = factorise(gradient, sums, weight, bias, observation.update.images, self.tolerance)
        directions, drawn = disaggregate(factors, self.evaluations, rng)
        columns, rows = factors.scaled(directions)
        mixture = sums @ gradient / sums.square().sum().clamp_min(TINY)
        inputs = mixture.repeat(observation.update.images, 1)
        inputs[: len(rows)] = rows @ factors.right
        images = observation.task.denormalize(inputs.view(observation.shape)).clamp(0, 1)
        cost = _label_cost(observation, images, columns @ factors.left.T)
        answers = [
            answer(victims, index, images[order], labels, rng, drawn)
            for order, labels in _labelled(observation, cost, len(rows))
        ]
        return min(answers, key=lambda one: one.objective)


def _label_cost(
    observation: Observation, images: Float[Tensor, "b c h w"], columns: Float[Tensor, "f m"]
) -> Float[Tensor, "b k"]:
    """Return how badly each label explains the part of dL/dZ found with an image; 0 for all where none was found.

    It is minus a cosine, so that a client who scales its gradient does not matter.
    """
    task, state, name = observation.task, read_state(observation), f"{first_linear(observation.task, nn.ReLU)}.bias"

    def loss(bias: Tensor, image: Tensor, label: Tensor) -> Tensor:
        logits, _ = task.forward(state | {name: bias}, image[None], mode=observation.recipe.mode)
        return task.loss(logits, label[None])

    def column(image: Tensor, label: Tensor) -> Tensor:
        return grad(loss)(state[name], image, label)

    by_label = vmap(column, in_dims=(None, 0))
    classes = torch.arange(task.spec.num_classes)
    caused = vmap(by_label, in_dims=(0, None))(images[: len(columns)], classes)
    cost = images.new_zeros(len(images), len(classes))
    cost[: len(columns)] = -torch.cosine_similarity(caused, columns[:, None], dim=2)
    return cost


def _labelled(
    observation: Observation, cost: Float[Tensor, "b k"], found: int
) -> list[tuple[Int[Tensor, " b"], Int[Tensor, " b"]]]:
    """Return orders of the images with labels to try: granted ones, or what the images say and what is inferred."""
    inferred = infer_labels(observation) if observation.labels is None else observation.labels
    known = inferred.cpu()
    _, image = linear_sum_assignment(cost[:, known].T.numpy())
    orders = [(torch.from_numpy(image), known)]
    if observation.labels is None and found == len(cost):
        orders.append((torch.arange(len(cost)), cost.argmin(1)))
    return orders
