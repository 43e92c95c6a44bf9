"""From scores to a verdict in a sentence.

A defence *leaks* if, against the attacker who knows it, images are identified more often than chance explains (exact binomial test
at 5 %, the chance multiplied by the number of attacks, since the best of them counts), or the reconstructions are closer to the truth
than the public mean image is (interval of the SSIM gain above 0). It is called free of a found leak only where the same attacks did
leak without a defence and enough victims were attacked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from leakward.metrics import Summary, p_value_above_chance, upper_bound

Outcome = Literal["leaks", "no leak found", "inconclusive"]
SIGNIFICANCE = 0.05
FEWEST = 4
"""Images below which no absence of a leak is claimed."""


@dataclass(frozen=True)
class Verdict:
    """One outcome with its reason.

    Attributes:
        status: ``leaks``, ``no leak found`` or ``inconclusive``.
        reason: In a sentence.
    """

    status: Outcome
    reason: str


def judge(summaries: Mapping[str, Summary], chance: float, attacks: int) -> Verdict:
    """Judge one defence by its worst case per image, on its own.

    Args:
        summaries: Over images, by metric, at the aware level; empty if no attack ended.
        chance: Of identifying one image by guessing, in (0, 1).
        attacks: Number of attacks of which the best counted.
    """
    if not summaries:
        return Verdict("inconclusive", "no attack applied or ended with an image")
    found, gain = summaries["identified"], summaries["ssim_gain"]
    images, hits = found.count, round(found.mean * found.count)
    share = f"{hits} of {images} images identified among {round(1 / chance)} (chance {chance:.1%})"
    if p_value_above_chance(hits, images, min(1.0, chance * attacks)) < SIGNIFICANCE:
        return Verdict("leaks", f"{share}.")
    if gain.low is not None and gain.low > 0:
        return Verdict("leaks", f"reconstructions beat the public mean image by {gain.mean:.2f} SSIM; {share}.")
    if images < FEWEST:
        return Verdict("inconclusive", f"{share}; too few images to claim the absence of a leak.")
    bound = upper_bound(hits, images)
    return Verdict("no leak found", f"{share}, not more than chance; at 95 % confidence at most {bound:.0%} are.")


def with_controls(verdict: Verdict, control: Verdict, consistent: bool) -> Verdict:
    """Return a verdict in the light of the controls.

    Args:
        verdict: Of one defence on its own.
        control: Of the undefended client, on its own.
        consistent: Whether every observation passed the doctor's checks.
    """
    if not consistent:
        return Verdict("inconclusive", "update, state, mode and loss do not belong together; see the consistency control.")
    if verdict.status == "no leak found" and control.status != "leaks":
        return Verdict("inconclusive", "the same attacks do not leak without a defence either: they are too weak here.")
    return verdict
