"""How good a model is on images that no client holds."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.errors import DivergedError
from leakward.metrics import auc_macro, class_scores
from leakward.models import Task
from leakward.training.results import ModelScores
from leakward.types import Tensors

IMAGES = 256
"""Images per forward pass."""


def logits(task: Task, state: Tensors, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """Return the logits of every image, in eval mode."""
    with torch.no_grad():
        return torch.cat([task.forward(state, part)[0] for part in images.split(IMAGES)])


def scores(task: Task, state: Tensors, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> ModelScores:
    """Return accuracy, macro F1 and macro AUC on ``images``.

    Raises:
        DivergedError: If the model's weights, buffers or answers are not finite.
    """
    found = logits(task, state, images)
    if not all(torch.isfinite(value).all() for value in (*state.values(), found)):
        raise DivergedError("model: expected finite numbers, got NaN or infinity; lower the noise or the learning rate")
    classes = class_scores(found.argmax(1), labels, task.spec.num_classes)
    return ModelScores(classes.accuracy, classes.f1_macro, auc_macro(found.softmax(1), labels))
