"""``Reconstruction``: what an attack answers."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from leakward.attacks.solvers import Status


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What an attack makes of one observation.

    Attributes:
        images: In [0, 1]; None unless ``status`` is ok.
        labels: As the attacker believes them.
        objective: The attacker's own loss of the images it chose; smaller is better.
        status: How the attack ended.
        evaluations: Objective-and-gradient evaluations it took, over all restarts.
        member: Which attack of several it comes from; empty if there is but one.
    """

    images: Float[Tensor, "b c h w"] | None
    labels: Int[Tensor, " b"] | None
    objective: float
    status: Status
    evaluations: int = 0
    member: str = ""


NOT_APPLICABLE = Reconstruction(None, None, float("inf"), Status.NOT_APPLICABLE)
