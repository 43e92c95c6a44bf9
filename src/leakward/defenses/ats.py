"""ATS: Gao et al. 2021, "Privacy-preserving collaborative learning with automatic transformation search".

    x'_i = T(x_i),   T = t_c o t_b o t_a for the policy "a-b-c",   t_0 .. t_49 as in ``transforms``

| symbol | field |
|---|---|
| T | ``policy``; of several, joined by "+", one is drawn for every image |
| C_max, the policies that a search tries | ``candidates``; 0 takes the policy as it is |

arXiv:2011.12505, CVPR. "3-1-7" and "43-18-18" are policies that they found for CIFAR-100. The search is in
``ats_search``: it is given the network and the site's images, and its outcome is as public as any other setting.

An attacker who knows of it replays the policy on the candidate, so that what it recovers are images before the
transforms. It does not know in which direction each was changed. It takes moves for positive, which is right for some
images, and contrast and the like for unchanged, which is their mean. That recovered more than fresh draws, and than
positive directions throughout. Who tries all directions and keeps the best match would come close to the oracle.

What differs from the authors' code: no random crop and mirroring before the policy, which every training has, defended
or not; see ``transforms`` and ``ats_search`` for theirs.
"""

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leakward.data.dataset import Dataset
from leakward.defenses.ats_search import Policy, search, transformed
from leakward.defenses.transforms import NUMBERED
from leakward.errors import DefenseError
from leakward.federated import Defense
from leakward.federated.defense import Step
from leakward.fields import check, whole
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors

FORM = re.compile(r"\d+(-\d+)*(\+\d+(-\d+)*)*")


@dataclass(frozen=True)
class ATS(Defense):
    """Train on transformed images.

    Attributes:
        policy: Numbers of transforms joined by "-", in the order they are applied; several such joined by "+".
        candidates: Random policies that ``prepare`` chooses from, instead of ``policy``; 0 for no search.
    """

    policy: str = "3-1-7"
    candidates: int = 0

    def __post_init__(self) -> None:
        expected = f"numbers from 0 to {len(NUMBERED) - 1} joined by '-', and several such by '+'"
        check(self, ("policy", self.policy, expected, _valid(self.policy)), whole("candidates", self.candidates, 0))

    @property
    def mixes_images(self) -> bool:
        """Return whether the policy is searched on the images, so that each changes what is done to the others."""
        return self.candidates > 0

    def prepare(self, task: Task, data: Dataset, rng: torch.Generator) -> Defense:
        """Search if asked to, and return a copy with the policy that was found."""
        if not self.candidates:
            return self
        return ATS("-".join(map(str, search(task, data, self.candidates, rng))))

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Transform every image."""
        del task, parameters
        return replace(step, images=self.transformed(step.images, tape, directions=tape))

    def replay(self) -> Defense:
        """Replay the policy with a guess at its directions."""
        return GuessedDirections(self)

    def transformed(self, images: Tensor, tape: Tape, directions: Tape | None) -> Tensor:
        """Return the images after a policy drawn from ``tape``, in directions from theirs, or in guessed ones."""
        if self.candidates:
            raise DefenseError("ATS: expected a policy, got candidates to search; call prepare first")
        chosen, *others = (transformed(images, policy, directions) for policy in _policies(self.policy))
        if not others:
            return chosen
        drawn = (tape.uniform((len(images),), images) * (1 + len(others))).floor()[:, None, None, None]
        for number, other in enumerate(others, 1):
            chosen = torch.where(drawn == number, other, chosen)
        return chosen


@dataclass(frozen=True)
class GuessedDirections(Defense):
    """What an attacker runs who knows the policy and guesses its directions.

    Attributes:
        source: The defence whose policy it is.
    """

    source: ATS

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Transform every image of the candidate."""
        del task, parameters
        return replace(step, images=self.source.transformed(step.images, tape, directions=None))


def _valid(policy: str) -> bool:
    return FORM.fullmatch(policy) is not None and all(n < len(NUMBERED) for p in _policies(policy) for n in p)


def _policies(policy: str) -> list[Policy]:
    return [tuple(int(number) for number in part.split("-")) for part in policy.split("+")]
