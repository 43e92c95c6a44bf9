"""From scores to a verdict in a sentence.

A defence *leaks* if, against the attacker who knows it, reconstructions point at the right images more often than
chance explains. Two tests share a level of 5 %: images identified (exact binomial), and the place of the right image
among the site's own (Fisher's method over updates), which also sees a leak that stops short of identification. Neither
can be fooled by a prior: what an attacker knows of such images in general is as near to every image of the site. A
defence is called free of a found leak only where the same attacks did leak without it and enough victims were attacked.

The images of one update are recovered together or not at all, so the tests count updates, each by its best place r. By
chance a place of r or better happens with a probability of at most ``a b^2 r / n``: each of ``b`` reconstructions may
be compared with any of the ``b`` private images among ``n``, and the best of ``a`` attacks counts.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import combine_pvalues

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
        places: Best place of a right image among the gallery, 1 to n, one per update that ended.
        images: Per update, b.
        gallery: Images among which they are identified, n.
        attacks: Of which the best counts, a.
    """

    summaries: Mapping[str, Summary]
    updates: int
    places: tuple[int, ...]
    images: int
    gallery: int
    attacks: int

    @property
    def ended(self) -> int:
        """Return the number of updates for which some attack made images."""
        return len(self.places)

    @property
    def hits(self) -> int:
        """Return the number of updates of which at least one image was identified."""
        return sum(place == 1 for place in self.places)

    def chance(self, place: int = 1) -> float:
        """Return the largest probability that an update reaches ``place`` by guessing."""
        return min(1.0, self.attacks * self.images**2 * place / self.gallery)

    def beats_chance(self) -> bool:
        """Return whether identification, or the places as a whole, are better than chance explains."""
        identification = p_value_above_chance(self.hits, self.ended, self.chance())
        places: Any = combine_pvalues([self.chance(place) for place in self.places], method="fisher")
        return min(identification, float(places.pvalue)) < SIGNIFICANCE / 2


def judge(tally: Tally) -> Verdict:
    """Judge one defence on its own."""
    if not tally.summaries:
        return Verdict("inconclusive", "no attack applied or ended with an image.")
    share = _share(tally)
    if tally.beats_chance():
        return Verdict("leaks", f"{share}.")
    if tally.ended < tally.updates:
        failed = tally.updates - tally.ended
        return Verdict("inconclusive", f"{share}; no attack ended for {failed} of {tally.updates} updates.")
    if tally.updates < FEWEST:
        return Verdict("inconclusive", f"{share}; too few updates to claim the absence of a leak.")
    if tally.chance() ** tally.updates >= SIGNIFICANCE / 2:
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
    place = statistics.median(tally.places)
    median = f"; the right one is at place {place:.0f} in the median" if hits < found.count else ""
    return f"{hits} of {found.count} images identified among {tally.gallery} (chance {odds:.1%}){where}{median}"
