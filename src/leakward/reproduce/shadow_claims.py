"""What came of the claims of the shadow paper's abstract.

Differences are taken image by image, in all cells whose attack identifies more images without a defence than guessing
would: elsewhere there is nothing to protect.
"""

import math
from dataclasses import dataclass

from leakward.metrics import Summary
from leakward.report import markdown
from leakward.reproduce.paper import Claim, Outcome
from leakward.reproduce.results import Place, Results
from leakward.reproduce.shadow_plan import FORMS, SETS, Images, short

CLEAR = 40.0
"""PSNR in dB above which nobody sees a difference; higher values count as this in differences."""
LOSS = 0.01
"""F1 that the defence costs at most, by the abstract."""
CERTAIN = 1.96
"""Standard errors on either side of a 95 % interval."""
KINDS = 2
"""Attacks that are several kinds of them."""
UNKNOWN = Claim(
    "LPIPS and SSIM are better than those of other defences by more than 1.5 %",
    "not decidable here",
    "which defences, and their numbers, are not known here, and no weights of LPIPS were at hand",
)


@dataclass(frozen=True)
class Measured:
    """A number of the abstract.

    Attributes:
        metric: Name of the measure.
        words: For the claim.
        unit: After the number.
        form: Of a number.
        most: Values above count as this.
    """

    metric: str
    words: str
    unit: str
    form: str
    most: float = math.inf


PSNR = Measured("psnr", "PSNR", " dB", "{:.2f}", CLEAR)
SSIM = Measured("ssim", "SSIM", "", "{:.3f}")


def claims(results: Results) -> tuple[Claim, ...]:
    """Return what came of every claim."""
    return (
        *(_difference(results, key, form, one) for key in SETS for one in (PSNR, SSIM) for form in FORMS),
        *(_cost(results, key, form) for key in SETS for form in FORMS),
        UNKNOWN,
        *(_kinds(results, form) for form in FORMS),
        *(_region(results, form) for form in FORMS),
    )


def parts(results: Results, key: str) -> list[str]:
    """Return the parts of a set in which its network was trained."""
    return [part for part in results.parts() if part.startswith(f"{key}/batch")]


def leaking(results: Results, key: str) -> list[Place]:
    """Return the cells of a set in which there is something to protect."""
    return [place for part in parts(results, key) for place in results.leaking(part)]


def named(results: Results, part: str, form: str) -> str:
    """Return the full name of a form of the defence in a part."""
    own = [name for name in results.defenses(part) if name.startswith("shadow-defense")]
    return own[FORMS.index(form)]


def controls(results: Results, part: str) -> list[str]:
    """Return the full names of random noise in a part."""
    return [name for name in results.defenses(part) if name.startswith("random-pixel-noise")]


def _stated(images: Images, measured: Measured) -> float:
    return images.psnr if measured is PSNR else images.ssim


def _difference(results: Results, key: str, form: str, measured: Measured) -> Claim:
    """Ask whether the measure falls as far as the abstract says.

    It does if the interval of the difference lies above 0 and reaches that far; it does not if it stays below that; an
    interval that holds both decides nothing.
    """
    images = SETS[key]
    stated = _stated(images, measured)
    words = f"{measured.words} on {images.words} falls by {stated}{measured.unit} ({form} form)"
    places = leaking(results, key)
    if not places:
        return Claim(words, "not decidable here", NOTHING)
    own, part = results.among(places), parts(results, key)[0]
    defense = named(results, part, form)
    found = own.difference(measured.metric, defense, at_most=measured.most)
    fallen = {name: own.difference(measured.metric, name, at_most=measured.most) for name in controls(results, part)}
    noise = [f"{short(name)} {markdown.interval(value, measured.form)}" for name, value in fallen.items()]
    rates = [own.measure("identified", defense=name) for name in ("none", defense)]
    before, after = (markdown.interval(rate, "{:.0%}") for rate in rates)
    reason = (
        f"by {markdown.interval(found, measured.form)}{measured.unit}, with {' and '.join(noise)}; "
        f"identified {before} without and {after} with it, in {len(places)} of {_count(results, key)} cells"
    )
    return Claim(words, _reached(found, stated), reason)


NOTHING = "no attack identifies more images than by chance, even without a defence"


def _reached(found: Summary | None, stated: float) -> Outcome:
    if found is None or found.low is None or found.high is None:
        return "not decidable here"
    if found.high < stated:
        return "not confirmed"
    return "confirmed" if found.low > 0 else "not decidable here"


def _count(results: Results, key: str) -> int:
    return sum(len(results.attacks(part)) * len(results.times(part)) for part in parts(results, key))


def _cost(results: Results, key: str, form: str) -> Claim:
    """Ask whether F1 falls by less than a point, with the standard error of two rates on the test images."""
    part = parts(results, key)[0]
    words = f"F1 on {SETS[key].words} falls by less than 1 % ({form} form)"
    before, after = (results.accuracy(part, name, "f1_macro") for name in ("none", named(results, part, form)))
    if before is None or after is None:
        return Claim(words, "not decidable here", "a training diverged")
    tested = results.tested(part)
    loss, half = before - after, CERTAIN * math.sqrt((before * (1 - before) + after * (1 - after)) / tested)
    reason = f"{before:.3f} without and {after:.3f} with it; {tested} test images tell it up to {half:.3f}"
    if loss - half > LOSS:
        return Claim(words, "not confirmed", reason)
    return Claim(words, "confirmed" if loss + half < LOSS else "not decidable here", reason)


def _kinds(results: Results, form: str) -> Claim:
    """Ask whether SSIM falls for every kind of attack that finds something without a defence, on either set.

    That is what the abstract measures by; the reason says how many images are identified all the same.
    """
    words = f"several kinds of attacks recover less ({form} form)"
    lowered: list[bool] = []
    reasons: list[str] = []
    for key, images in SETS.items():
        places, defense = leaking(results, key), named(results, parts(results, key)[0], form)
        for attack in dict.fromkeys(attack for _, attack, _ in places):
            own = results.among([place for place in places if place[1] == attack])
            found = own.difference("ssim", defense)
            lowered.append(found is not None and found.low is not None and found.low > 0)
            rates = [markdown.interval(own.measure("identified", defense=one), "{:.0%}") for one in (defense, "none")]
            reasons.append(
                f"{attack} on {images.words} {markdown.interval(found, '{:.3f}')}, {rates[0]} identified, "
                f"{rates[1]} without it"
            )
    if len({reason.split()[0] for reason in reasons}) < KINDS:
        return Claim(words, "not decidable here", "fewer than two attacks find something without a defence")
    return Claim(words, "confirmed" if all(lowered) else "not confirmed", f"SSIM falls by: {'; '.join(reasons)}")


def _region(results: Results, form: str) -> Claim:
    """Ask whether SSIM falls more where the network looks than elsewhere."""
    words = f"above all in sensitive areas ({form} form)"
    reasons: list[str] = []
    outcomes: list[Outcome] = []
    for key, images in SETS.items():
        own = results.among(leaking(results, key))
        defense = named(results, parts(results, key)[0], form)
        inside, outside = (own.difference(f"ssim_{where}", defense) for where in ("inside", "outside"))
        outcomes.append(_further(inside, outside))
        values = [markdown.interval(found, "{:.3f}") for found in (inside, outside)]
        reasons.append(f"{images.words}: SSIM falls by {values[0]} where the network looks and {values[1]} elsewhere")
    agreed = outcomes[0] if len({*outcomes}) == 1 else "not decidable here"
    return Claim(words, agreed, "; ".join(reasons))


def _further(inside: Summary | None, outside: Summary | None) -> Outcome:
    """Compare two differences by their intervals."""
    if inside is None or outside is None:
        return "not decidable here"
    if inside.low is not None and outside.high is not None and inside.low > outside.high:
        return "confirmed"
    if inside.high is not None and outside.low is not None and inside.high < outside.low:
        return "not confirmed"
    return "not decidable here"
