"""From scores to a verdict in a sentence.

A defence *leaks* if, against the attacker who knows it, images are identified more often than chance explains (exact
binomial test at 5 %), or the reconstructions are closer to the truth than the public mean image is (interval of the
SSIM gain above 0). It is called free of a found leak only where the same attacks did leak without a defence and enough
victims were attacked.

The images of one update are recovered together or not at all, so the test counts updates, of which at least one image
was identified. By chance that happens with a probability of at most ``a b^2 / n``: each of ``b`` reconstructions may
fall on any of the ``b`` private images among ``n``, and the best of ``a`` attacks counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from leakward.metrics import Summary, p_value_above_chance, upper_bound

Outcome = Literal["leaks", "no leak found", "inconclusive"]
SIGNIFICANCE = 0.05
FEWEST = 4
"""Updates below which no absence of a leak is claimed."""


@dataclass(frozen=True)
class Verdict:
    """One outcome with its reason.

    Attributes:
        status: ``leaks``, ``no leak found`` or ``inconclusive``.
        reason: In a sentence.
    """

    status: Outcome
    reason: str


@dataclass(frozen=True)
class Tally:
    """What all attacks together found of one defence, at the aware level.

    Attributes:
        summaries: Of the worst case per image, by metric; empty if no attack ended with an image.
        updates: That were attacked, at least 1.
        ended: Of which some attack made images.
        hits: Of which at least one image was identified.
        images: Per update, b.
        gallery: Images among which they are identified, n.
        attacks: Of which the best counts, a.
    """

    summaries: Mapping[str, Summary]
    updates: int
    ended: int
    hits: int
    images: int
    gallery: int
    attacks: int

    @property
    def chance(self) -> float:
        """Return the largest probability that an update is a hit by guessing."""
        return min(1.0, self.attacks * self.images**2 / self.gallery)


def judge(tally: Tally) -> Verdict:
    """Judge one defence on its own."""
    if not tally.summaries:
        return Verdict("inconclusive", "no attack applied or ended with an image.")
    gain, share = tally.summaries["ssim_gain"], _share(tally)
    if p_value_above_chance(tally.hits, tally.ended, tally.chance) < SIGNIFICANCE:
        return Verdict("leaks", f"{share}.")
    if gain.low is not None and gain.low > 0:
        return Verdict("leaks", f"reconstructions beat the public mean image by {gain.mean:.2f} SSIM; {share}.")
    if tally.ended < tally.updates:
        failed = tally.updates - tally.ended
        return Verdict("inconclusive", f"{share}; no attack ended for {failed} of {tally.updates} updates.")
    if tally.updates < FEWEST:
        return Verdict("inconclusive", f"{share}; too few updates to claim the absence of a leak.")
    if p_value_above_chance(tally.updates, tally.updates, tally.chance) >= SIGNIFICANCE:
        return Verdict("inconclusive", f"{share}; the site has too few images to tell identification from chance.")
    bound = upper_bound(tally.hits, tally.updates)
    what = "are" if tally.images == 1 else "of updates give one away"
    return Verdict("no leak found", f"{share}, not more than chance; at 95 % confidence at most {bound:.0%} {what}.")


def with_controls(verdict: Verdict, control: Verdict, consistent: bool) -> Verdict:
    """Return a verdict in the light of the controls.

    Args:
        verdict: Of one defence on its own.
        control: Of the undefended client, on its own.
        consistent: Whether every observation passed the doctor's checks.
    """
    if not consistent:
        reason = "update, state, mode and loss do not belong together; see the consistency control."
        return Verdict("inconclusive", reason)
    if verdict.status == "no leak found" and control.status != "leaks":
        return Verdict("inconclusive", "the same attacks do not leak without a defence either: they are too weak here.")
    return verdict


def _share(tally: Tally) -> str:
    found = tally.summaries["identified"]
    hits, odds = round(found.mean * found.count), min(1.0, tally.images / tally.gallery)
    where = "" if tally.images == 1 else f", in {tally.hits} of {tally.ended} updates"
    return f"{hits} of {found.count} images identified among {tally.gallery} (chance {odds:.1%}){where}"
