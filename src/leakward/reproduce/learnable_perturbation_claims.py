"""What came of the two numbers of the abstract on learnable perturbation, and what the page asks of its tables."""

from leakward.metrics import Summary
from leakward.report import markdown
from leakward.reproduce.learnable_perturbation_plan import DATA
from leakward.reproduce.paper import Claim, Outcome
from leakward.reproduce.results import Results

FAMILIES = {"dp-sgd": "DP-SGD", "bido": "BiDO", "learnable-perturbation": "learnable perturbation"}
LEVELS = ("unaware", "aware")
USEFUL = 0.05
"""Accuracy that a useful defence may cost."""


def family(defense: str) -> str:
    """Return what the paper calls a defence of this label."""
    return FAMILIES.get(defense.partition("(")[0], defense) if " + " not in defense else "both"


def strongest(results: Results) -> str:
    """Return the name of the attack that claims and figures go by: the first of the plan."""
    return results.attacks(next(iter(DATA)))[0]


def by(results: Results, attack: str) -> Results:
    """Return what one attack found."""
    return results.among([(part, attack, time) for part in results.parts() for time in results.times(part)])


def found_in(results: Results, metric: str, part: str, defense: str, level: str, time: int) -> Summary | None:
    """Return one measure; without a defence there is one attacker."""
    known = "aware" if defense == "none" else level
    return results.measure(metric, part=part, defense=defense, knowledge=known, after_rounds=time)


def compare(results: Results, words: str, metric: str) -> Claim:
    """Compare the best setting of the method with the best of the baselines, at the aware level, if both are useful.

    Useful is a setting that costs no more than five points of accuracy. Where an attack finds nothing without a
    defence, it tells nothing of one with it.
    """
    reasons: list[str] = []
    outcomes: list[Outcome] = []
    for part, title in DATA.items():
        last = results.times(part)[-1]
        if not results.above_chance(part=part, defense="none", after_rounds=last):
            outcomes.append("not decidable here")
            reasons.append(f"{title}: the attack identifies no more images than by chance, even without a defence")
            continue
        own, other = (_best(results, metric, part, last, ours) for ours in (True, False))
        if own is None or other is None:
            outcomes.append("not decidable here")
            reasons.append(f"{title}: no setting of {'the method' if own is None else 'a baseline'} keeps the accuracy")
            continue
        better = above(other[1], own[1]) if metric == "class_recovered" else above(own[1], other[1])
        outcomes.append("confirmed" if better else "not confirmed")
        values = (f"{name} {markdown.interval(found, '{:.2f}')}" for name, found in (own, other))
        reasons.append(f"{title}, trained, aware attacker: {' against '.join(values)}")
    agreed = outcomes[0] if len(set(outcomes)) == 1 else "not decidable here"
    return Claim(words, agreed, "; ".join(reasons))


def _best(results: Results, metric: str, part: str, time: int, ours: bool) -> tuple[str, Summary] | None:
    plain = results.accuracy(part, "none") or 0.0
    found: list[tuple[str, Summary]] = []
    for defense in results.defenses(part):
        kind, accuracy = family(defense), results.accuracy(part, defense)
        chosen = kind == "learnable perturbation" if ours else kind in ("DP-SGD", "BiDO")
        value = found_in(results, metric, part, defense, "aware", time)
        if chosen and value is not None and accuracy is not None and accuracy >= plain - USEFUL:
            found.append((defense, value))
    pick = min if metric == "class_recovered" else max
    return pick(found, key=lambda one: one[1].mean, default=None)


def above(one: Summary, other: Summary) -> bool:
    """Return whether the interval of one mean lies above that of the other."""
    return one.low is not None and other.high is not None and one.low > other.high
