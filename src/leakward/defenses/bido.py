"""BiDO, bilateral dependency optimization: Peng, Liu, Zhang, Lan, Shi, Liu and Han 2022 (arXiv:2206.05483).

Hidden layers are to forget the image and to keep the class (eq. 3):

    L = CE + lambda_x sum_l d(X, Z_l) - lambda_y sum_l d(Y, Z_l)

| symbol | field |
|---|---|
| lambda_x, lambda_y | ``input_coefficient``, ``label_coefficient`` |
| d | ``measure`` (``dependence``) |
| Z_l | the outputs of ``layers``; if none are named, what the last linear layer is given |
| sigma of the Gaussian kernels of X and Z | ``sigma`` |

X is the image as the network sees it, Y the class, one-hot, with a linear kernel: a Gaussian one differs by a constant
factor only, since classes are alike or not. d is estimated over the images of one step, so that a step on a single
image has nothing to estimate and is refused.

Nothing is random and nothing is secret: the attacker who knows of it replays the same objective (``PublicObjective``).

What differs from the authors' code: kernels are not rounded to single precision; COCO, which they offer and their
training never passes on, is used where it is asked for; they name the layers of VGG16 and ResNet in code. The sum over
images is estimated within a client's step, and not over minibatches of a large data set.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from leakward.defenses.dependence import coco, gaussian_kernel, hsic, linear_kernel
from leakward.errors import DefenseError, ModelError
from leakward.federated import Defense, Objective, Step
from leakward.fields import check, not_negative, one_of, positive
from leakward.models import Task
from leakward.models.hooks import Hook, hooked
from leakward.types import Tensors

Measure = Literal["hsic", "coco"]


@dataclass(frozen=True)
class BiDO(Defense):
    """Penalise what hidden layers keep of the image, and reward what they keep of the class.

    Attributes:
        input_coefficient: Weight of the dependence on the image, at least 0.
        label_coefficient: Weight of the dependence on the class, at least 0.
        measure: Of dependence.
        layers: Names of modules of the network; none means the features that the last linear layer is given.
        sigma: Of the Gaussian kernels, in units of the root mean square difference per entry.
    """

    input_coefficient: float = 0.1
    label_coefficient: float = 2.0
    measure: Measure = "hsic"
    layers: tuple[str, ...] = ()
    sigma: float = 5.0

    def __post_init__(self) -> None:
        check(
            self,
            not_negative("input_coefficient", self.input_coefficient),
            not_negative("label_coefficient", self.label_coefficient),
            one_of("measure", self.measure, get_args(Measure)),
            ("layers", self.layers, "names, each once", len({*self.layers} - {""}) == len(self.layers)),
            positive("sigma", self.sigma),
        )

    @property
    def step_images(self) -> int:
        """Return that a single image depends on nothing."""
        return 2

    @property
    def compares_images(self) -> bool:
        """Return that dependence is measured between them."""
        return True

    @property
    def mixes_images(self) -> bool:
        """Return that dependence is a matter of all images of a step."""
        return True

    def on_task(self, task: Task) -> Task:
        """Refuse a network without the layers."""
        known = [name for name, _ in task.model.named_modules() if name]
        missing = [name for name in self.layers if name not in known]
        if missing:
            raise DefenseError(
                f"BiDO: expected names of layers of {task.spec.model!r}, got {missing[0]!r}; "
                f"choose among {', '.join(known)}"
            )
        if not self.layers:
            _last(task)
        return task

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Add the two sums to the loss, which takes at least two images."""
        dependent = self.dependent(task, objective)

        def defended(parameters: Tensors, step: Step) -> tuple[Tensor, Tensors]:
            if len(step.images) < self.step_images:
                raise DefenseError(
                    f"BiDO: expected at least {self.step_images} images in every step, among which dependence shows, "
                    f"got {len(step.images)}; use larger batches, without defences that look at each image alone"
                )
            return dependent(parameters, step)

        return defended

    def dependent(self, task: Task, objective: Objective) -> Objective:
        """Return the objective with the two sums, which are 0 for a single image."""

        def dependent(parameters: Tensors, step: Step) -> tuple[Tensor, Tensors]:
            hidden: Tensors = {}
            with hooked(task.model, self._recording(task, hidden)):
                loss, buffers = objective(parameters, step)
            return loss + self._penalty(task, step, [*hidden.values()]), buffers

        return dependent

    def replay(self) -> Defense:
        """Replay the objective."""
        return PublicObjective(self)

    def _recording(self, task: Task, hidden: Tensors) -> dict[str, Hook]:
        """Return hooks that put the activations into ``hidden``."""

        def recorder(name: str, given: bool) -> Hook:
            return lambda inputs, output: hidden.update({name: inputs if given else output})

        return {name: recorder(name, given=False) for name in self.layers} or {_last(task): recorder("", given=True)}

    def _penalty(self, task: Task, step: Step, hidden: list[Tensor]) -> Tensor:
        depends = {"hsic": hsic, "coco": coco}[self.measure]
        images = gaussian_kernel(task.normalize(step.images).flatten(1), self.sigma)
        classes = linear_kernel(_probabilities(step, task.spec.num_classes))
        kernels = [gaussian_kernel(layer.flatten(1), self.sigma) for layer in hidden]
        on_images = torch.stack([depends(images, kernel) for kernel in kernels]).sum()
        on_classes = torch.stack([depends(classes, kernel) for kernel in kernels]).sum()
        return self.input_coefficient * on_images - self.label_coefficient * on_classes


@dataclass(frozen=True)
class PublicObjective(Defense):
    """What an attacker runs who knows the objective; unlike the client, it may look for one image of a batch alone.

    Attributes:
        source: The defence whose objective it is.
    """

    source: BiDO

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Add the two sums to the loss."""
        return self.source.dependent(task, objective)


def _last(task: Task) -> str:
    """Return the name of the last linear layer."""
    try:
        return task.classifier[0].removesuffix(".weight")
    except ModelError as error:
        raise DefenseError(f"BiDO: {error}, unless layers are named") from error


def _probabilities(step: Step, classes: int) -> Tensor:
    """Return the labels as (b k)."""
    if step.labels.ndim == 2:
        return step.labels
    return (step.labels[:, None] == torch.arange(classes, device=step.labels.device)).to(step.images)
