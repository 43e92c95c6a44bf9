"""What a classifier still reads from a reconstruction, and the scores of predicted classes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy, multiclass_f1_score

from leakward.metrics.metric import Metric

Classifier = Callable[[Tensor], Tensor]
"""Takes images (b c h w) in [0, 1] and returns one class index per image."""

CLASS_RECOVERED = Metric(
    name="class_recovered",
    title="Class recovered",
    unit="yes/no",
    low=0.0,
    high=1.0,
    leaks_more="higher",
    description="Whether an undefended classifier gives the reconstruction the true label: the diagnosis shows.",
)


@dataclass(frozen=True)
class ClassScores:
    """Agreement of predicted with true classes.

    Attributes:
        accuracy: Share of images with the right class, in [0, 1].
        f1_macro: F1 averaged over the classes that occur among predictions or labels, in [0, 1].
    """

    accuracy: float
    f1_macro: float


def class_recovered(
    reconstructions: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"], classifier: Classifier
) -> Float[Tensor, " b"]:
    """Return 1 where ``classifier`` gives the reconstruction its true label, else 0."""
    with torch.no_grad():
        predicted = classifier(reconstructions)
    return (predicted.to(labels.device) == labels).double()


def class_scores(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int) -> ClassScores:
    """Return accuracy and macro F1 of predicted against true classes ``0 .. classes - 1``."""
    return ClassScores(
        accuracy=float(multiclass_accuracy(predicted, labels, num_classes=classes, average="micro")),
        f1_macro=float(multiclass_f1_score(predicted, labels, num_classes=classes, average="macro")),
    )


def auc_macro(probabilities: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> float:
    """Return the area under the ROC curve of each class against all others, averaged over the classes that occur.

    Returns:
        In [0, 1]; 0.5 if all images are of one class, since there is nothing to tell apart.
    """
    present = labels.unique()
    if len(present) < 2:
        return 0.5
    areas = [binary_auroc(probabilities[:, c], (labels == c).long()) for c in present.tolist()]
    return float(torch.stack(areas).mean())
