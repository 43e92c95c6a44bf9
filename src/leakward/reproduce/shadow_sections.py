"""The tables of the page on the shadow defence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leakward.metrics import METRICS
from leakward.report import markdown
from leakward.reproduce import figures
from leakward.reproduce.results import Place, Results
from leakward.reproduce.shadow_claims import CLEAR, PSNR, SSIM, leaking, parts
from leakward.reproduce.shadow_plan import MEASURES, SETS, START, Images, short


def sections(results: Results) -> Mapping[str, str]:
    """Return the page's sections by title."""
    found = {"Differences to no defence": _differences(results), "Accuracy": _accuracy(results)}
    for key, images in SETS.items():
        for part in parts(results, key):
            found[f"{_title(images.words)}, {part.partition('/')[2]}"] = _over_time(results, part)
        found[f"All measures on {images.words}"] = _measures(results, key)
    start = _start(results)
    return found | ({"The paper's network at its start": start} if start else {})


def over_training(results: Results, folder: Path) -> str:
    """Draw the SSIM of what is recovered from single images over the training, and return links to the figures."""
    links: list[str] = []
    for key, images in SETS.items():
        part, name = f"{key}/batch 1", f"{key}.svg"
        panels = {
            attack: [
                figures.Curve(short(defense), results.over_time("ssim", part, attack=attack, defense=defense))
                for defense in results.defenses(part)
            ]
            for attack in results.attacks(part)
        }
        figures.curves(panels, "round", f"SSIM, {images.words}", folder / name)
        links.append(f"![SSIM over the training, {images.words}]({folder.name}/{name})")
    return "\n\n".join(links)


def _differences(results: Results) -> str:
    """Return the four numbers of the abstract beside ours, and those of the controls."""
    about = (
        "By how much PSNR and SSIM of the reconstructions fall, image by image, in all cells whose attack identifies "
        "more images than chance without a defence, and which share of the images of those cells is identified. PSNR "
        f"counts up to {CLEAR:.0f} dB, where nobody sees a difference."
    )
    rows = [
        [images.words, _called(results, key, name), *_row(results, key, name, images)]
        for key, images in SETS.items()
        for name in results.defenses(parts(results, key)[0])
        if name != "none"
    ]
    head = ["images", "defence", "PSNR, dB", "in the paper", "SSIM", "in the paper", "identified", "without"]
    return f"{about}\n\n{markdown.table(head, rows)}"


def _row(results: Results, key: str, name: str, images: Images) -> list[str]:
    own = results.among(_tried(results, key, name))
    shadow = name.startswith("shadow-defense")
    found = [own.difference(one.metric, name, at_most=one.most) for one in (PSNR, SSIM)]
    psnr, ssim = (markdown.interval(value, one.form) for value, one in zip(found, (PSNR, SSIM), strict=True))
    stated = [str(number) if shadow else "" for number in (images.psnr, images.ssim)]
    rates = [markdown.interval(own.measure("identified", defense=defense), "{:.0%}") for defense in (name, "none")]
    return [psnr, stated[0], ssim, stated[1], *rates]


def _tried(results: Results, key: str, name: str) -> list[Place]:
    """Return the cells in which there is something to protect, and the defence was tried."""
    return [place for place in leaking(results, key) if name in results.defenses(place[0])]


def _called(results: Results, key: str, name: str) -> str:
    """Return a name for tables that says so where a defence was not tried on all sizes of updates."""
    tried, every = ({place[0] for place in _tried(results, key, one)} for one in (name, "none"))
    alone = ", ".join(part.partition("/")[2] for part in parts(results, key) if part in tried)
    return short(name) if tried == every else f"{short(name)} ({alone} alone)"


def _accuracy(results: Results) -> str:
    head = ["images", "defence", "accuracy", "F1", "test images"]
    rows: list[list[str]] = []
    for key, images in SETS.items():
        part = parts(results, key)[0]
        for name in results.defenses(part):
            values = [results.accuracy(part, name, score) for score in ("accuracy", "f1_macro")]
            rows.append([images.words, short(name), *map(_score, values), str(results.tested(part))])
    return f"Of the federation after its last round; F1 is averaged over classes.\n\n{markdown.table(head, rows)}"


def _over_time(results: Results, part: str) -> str:
    """Return PSNR, SSIM and the rate of identification by attack, defence and time."""
    times = results.times(part)
    head = ["attack", "defence", *(f"round {time}" for time in times)]
    rows = [
        [attack, short(name), *(_brief(results, part, attack, name, time) for time in times)]
        for attack in results.attacks(part)
        for name in results.defenses(part)
    ]
    chance = f"{results.chance(part=part):.1%}"
    about = f"PSNR in dB, SSIM, and the share of images that are identified; by chance at most {chance}."
    return f"{about}\n\n{markdown.table(head, rows)}"


def _brief(results: Results, part: str, attack: str, defense: str, time: int) -> str:
    where: dict[str, Any] = {"part": part, "attack": attack, "defense": defense, "after_rounds": time}
    found = [results.measure(name, **where) for name in ("psnr", "ssim", "identified")]
    forms = ("{:.1f}", "{:.2f}", "{:.0%}")
    values = [form.format(one.mean) for form, one in zip(forms, found, strict=True) if one is not None]
    return ", ".join(values) or "none"


def _measures(results: Results, key: str) -> str:
    """Return every measure over the cells in which there is something to protect, and over all others."""
    own = results.among(leaking(results, key))
    head = ["defence", *(METRICS[name].title for name in MEASURES)]
    rows = [
        [
            _called(results, key, name),
            *(markdown.interval(own.measure(one, defense=name), _form(one)) for one in MEASURES),
        ]
        for name in results.defenses(parts(results, key)[0])
    ]
    about = "Over all cells whose attack identifies more images than chance without a defence."
    return f"{about}\n\n{markdown.table(head, rows)}"


def _start(results: Results) -> str:
    found = {images.words: f"{key}/{START}" for key, images in SETS.items() if f"{key}/{START}" in results.parts()}
    return "\n\n".join(f"{_title(words)}. {_over_time(results, part)}" for words, part in found.items())


def _title(words: str) -> str:
    return words[0].upper() + words[1:]


def _form(metric: str) -> str:
    return {"psnr": "{:.1f}", "identified": "{:.0%}", "mse": "{:.4f}"}.get(metric.partition("_")[0], "{:.2f}")


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
