"""The search for a policy of ``ats``: Gao et al. 2021 (arXiv:2011.12505, CVPR), section 4.

    S_pri(T) = mean over x of the area under i / K -> GradSim(x_i, T(x)),   x_i = (1 - i / K) n + (i / K) T(x)
    S_acc(T) = -sum_j (log(v_j + e) + 1 / (v_j + e)),   v_j the eigenvalues of the correlations of d f(T(x)) / dx

GradSim is the cosine of the angle between the gradients, averaged over the tensors; n is uniform noise. Where S_pri is
small, gradients hardly resemble each other before the images do, which leads an optimiser nowhere. S_acc, after Mellor
et al. 2020 (arXiv:2006.04647v1), is large where an untrained network tells images apart.

What differs from the authors' code: the threshold on S_acc is the median of the candidates, since theirs, -85, is of
one data set; the network for S_pri is trained here, briefly, on a tenth of the images. Policies are scored on the same
few images, and each has three transforms.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F

from leakward.data.dataset import Dataset
from leakward.defenses import transforms
from leakward.errors import DefenseError
from leakward.federated import optim
from leakward.models import Task, initial_state
from leakward.pace import paced
from leakward.tape import Tape
from leakward.types import Batch, Tensors, generator

Policy = tuple[int, ...]

TRANSFORMS = 3
"""Of a policy."""
STEPS = 20
"""K: parts of the way from noise to image."""
PRIVACY_IMAGES, ACCURACY_IMAGES = 8, 64
"""What a policy is scored on."""
SHARE, EPOCHS, MINIBATCH, LEARNING_RATE = 10, 10, 32, 1e-3
"""Of the images one in so many trains the network for S_pri; and how, by Adam."""
EPSILON = 1e-5


def search(task: Task, data: Dataset, candidates: int, rng: torch.Generator) -> Policy:
    """Return the policy with the least S_pri among the half of random ones with the largest S_acc."""
    images, labels = data.subset("train")
    if len(images) < 2:
        raise DefenseError(
            f"ATS: expected at least 2 images in the train split of {data.name!r}, got {len(images)}; "
            "choose other data, or a policy by hand"
        )
    order = torch.randperm(len(images), generator=rng)
    batch = Batch(images[order], labels[order])
    fresh = {name: value.to(images.device) for name, value in initial_state(task, rng).items()}
    trained = _train(task, fresh, batch, rng)
    tried = torch.randint(len(transforms.NUMBERED), (candidates, TRANSFORMS), generator=rng).tolist()
    seed = int(torch.randint(2**62, (1,), generator=rng))
    useful = sorted(tried, key=lambda policy: -accuracy_score(task, fresh, batch, policy, generator(seed)))
    kept = useful[: -(-candidates // 2)]
    return tuple(min(kept, key=lambda policy: privacy_score(task, trained, batch, policy, generator(seed))))


def transformed(images: Tensor, policy: Policy | list[int], tape: Tape | None) -> Tensor:
    """Return the images after all transforms of ``policy``, in its order; without a tape as a guess."""
    for number in policy:
        images = transforms.apply(number, images, tape)
    return images


def accuracy_score(task: Task, state: Tensors, batch: Batch, policy: Policy | list[int], rng: torch.Generator) -> float:
    """Return S_acc."""
    images = transformed(batch.images[:ACCURACY_IMAGES], policy, Tape(rng))

    def total(image: Tensor) -> Tensor:
        return task.forward(state, image[None])[0].sum()

    slopes = vmap(grad(total))(images).flatten(1)
    return separation(slopes)


def separation(slopes: Float[Tensor, "n d"]) -> float:
    """Return how far the rows are from being multiples of each other; the larger, the further."""
    values = torch.linalg.eigvalsh(torch.corrcoef(slopes.double()).nan_to_num()).clamp(min=0) + EPSILON
    return -float((values.log() + 1 / values).sum())


def privacy_score(task: Task, state: Tensors, batch: Batch, policy: Policy | list[int], rng: torch.Generator) -> float:
    """Return S_pri."""
    images, labels = batch.images[:PRIVACY_IMAGES], batch.labels[:PRIVACY_IMAGES]
    images = transformed(images, policy, Tape(rng))
    noise = torch.rand(images.shape, generator=rng).to(images)
    parameters, buffers = task.split(state)

    def gradient(image: Tensor, label: Tensor) -> Tensors:
        def loss(given: Tensors) -> Tensor:
            return task.loss(task.forward(given | buffers, image[None])[0], label[None])

        return grad(loss)(parameters)

    target = vmap(gradient)(images, labels)
    similar: list[Tensor] = []
    for way in torch.linspace(0, 1, STEPS + 1).tolist():
        found = vmap(gradient)(torch.lerp(noise, images, way), labels)
        similar.append(_similarity(found, target))
    return float(torch.trapezoid(torch.stack(similar), dim=0).mean() / STEPS)


def _similarity(found: Tensors, target: Tensors) -> Float[Tensor, " b"]:
    each = [F.cosine_similarity(found[name].flatten(1), target[name].flatten(1)) for name in target]
    return torch.stack(each).mean(0)


def _train(task: Task, state: Tensors, batch: Batch, rng: torch.Generator) -> Tensors:
    count = max(len(batch.images) // SHARE, min(len(batch.images), MINIBATCH))
    parameters, buffers = task.split(state)
    memory = optim.start(parameters)

    def loss(given: Tensors, index: Tensor) -> Tensor:
        return task.loss(task.forward(given | buffers, batch.images[index])[0], batch.labels[index])

    for _ in paced(range(EPOCHS)):
        for index in paced(torch.randperm(count, generator=rng).to(batch.labels.device).split(MINIBATCH)):
            gradient = grad(loss)(parameters, index)
            parameters, memory = optim.adam_step(parameters, gradient, memory, learning_rate=LEARNING_RATE)
    return parameters | buffers
