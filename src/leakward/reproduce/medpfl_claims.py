"""What came of the claims of MedPFL's abstract."""

from collections.abc import Mapping

from leakward.defenses import LaplacianNoise
from leakward.metrics import Summary
from leakward.parts import label
from leakward.report import markdown
from leakward.reproduce.medpfl_plan import ATTACKS, GRADINV, NOISE, SETS
from leakward.reproduce.paper import Claim, Outcome
from leakward.reproduce.results import Results


def all_recover(results: Results) -> Claim:
    """Ask whether every attack identifies more images than chance on every set, on a network without training.

    An attack that does not may only have had too few steps: that decides nothing.
    """
    failed = [
        f"{attack} on {words}"
        for name, words in SETS.items()
        for attack in ATTACKS
        if not results.above_chance(part=f"{name}/{attack}", after_rounds=0)
    ]
    reason = f"not more images identified than by chance: {', '.join(failed)}" if failed else "on every set of images"
    return Claim("all four attacks reconstruct private images", "not decidable here" if failed else "confirmed", reason)


def strongest_untrained(results: Results) -> Claim:
    """Ask whether Inverting Gradients has the highest SSIM of the attacks that identify images, on most sets.

    It does on a set if its interval lies above those of all others there, on the common network without training.
    """
    reasons: list[str] = []
    best: list[bool | None] = []
    for name, words in SETS.items():
        part = f"{name}/common"
        found = {a: results.measure("ssim", part=part, attack=a) for a in ATTACKS}
        known = {a: v for a, v in found.items() if v is not None and results.above_chance(part=part, attack=a)}
        values = (f"{attack} {markdown.interval(value, '{:.2f}')}" for attack, value in known.items())
        reasons.append(f"{words}: {', '.join(values) or 'no attack identifies more than by chance'}")
        best.append(_ahead(known) if known else None)
    outcome: Outcome = "not decidable here"
    if None not in best:
        outcome = "confirmed" if 2 * best.count(True) > len(best) else "not confirmed"
    return Claim(
        "Inverting Gradients is often the best on untrained models",
        outcome,
        "SSIM on one common network, after as many gradients each, of attacks that identify more images than by "
        f"chance: {'; '.join(reasons)}",
    )


def _ahead(known: Mapping[str, Summary]) -> bool:
    """Return whether the interval of Inverting Gradients lies above those of all others."""
    if GRADINV not in known:
        return False
    low = known[GRADINV].low
    rest = [value.high for attack, value in known.items() if attack != GRADINV]
    return low is not None and all(high is not None and low > high for high in rest)


def noise_may_fail(results: Results) -> Claim:
    """Ask whether CPL still identifies images under some noise of the paper, of sets that it does without noise."""
    published = {label("defenses", LaplacianNoise(scale)): scale for scale in NOISE}
    parts = {name: f"{name}/noise" for name in SETS if results.above_chance(part=f"{name}/noise", defense="none")}
    leaking = [
        f"{published[defense]} on {SETS[name]}"
        for name, part in parts.items()
        for defense in results.defenses(part)
        if defense in published and results.above_chance(part=part, defense=defense)
    ]
    claim = "Laplace noise does not always protect"
    if not parts:
        return Claim(claim, "not decidable here", "CPL identifies no more than by chance without noise")
    if not leaking:
        return Claim(claim, "not confirmed", "no image identified beyond chance at any scale of the paper")
    return Claim(claim, "confirmed", f"images still identified at scales of {', '.join(leaking)}")
