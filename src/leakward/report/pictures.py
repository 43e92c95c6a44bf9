"""Private images beside what was recovered from the update, as PNG inside the page."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from leakward.report.format import measure
from leakward.report.run import Pictures, Run
from leakward.report.schema import CellResult
from leakward.report.tables import NO_DEFENSE, defense_title, level_title, ordered_levels

MOST = 8
"""Images shown; the tables count all."""

Scores = dict[tuple[str, int], dict[str, float]]
"""The measures of each cell and victim; a failed attack has none."""


@dataclass(frozen=True)
class Picture:
    """One box of the grid; without a source the attack returned nothing for this image."""

    source: str
    alt: str
    lines: tuple[str, ...] = ()
    identified: bool = False


@dataclass(frozen=True)
class Strip:
    """One row of the grid."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


def strips(run: Run) -> tuple[Strip, ...]:
    """Return the originals, then per defence and knowledge level what leaked most of each; nothing without images.

    Raises:
        LeakwardError: If a file of images is broken.
    """
    solved = [(cell, held) for cell in run.summary.cells if (held := run.pictures(cell.id)) is not None]
    if not solved:
        return ()
    originals = solved[0][1].originals[:MOST]
    count = len(originals)
    same = [(cell, held) for cell, held in solved if np.array_equal(held.originals[:count], originals)]
    first = tuple(Picture(_png(image), f"Original image {i + 1}") for i, image in enumerate(originals))
    scores = _scores(run)
    rows = [Strip("Originals", "what the site holds", first)]
    for result in run.summary.defenses:
        for level in ordered_levels(result):
            cells = [(c, held) for c, held in same if (c.defense, c.knowledge) == (result.defense, level)]
            if cells:
                rows.append(_strip(result.defense, level, cells, scores, count))
    return tuple(rows)


def _strip(defense: str, level: str, cells: list[tuple[CellResult, Pictures]], scores: Scores, count: int) -> Strip:
    """Return one row: for each of the first ``count`` images the reconstruction, of all attacks, that leaks most."""
    who = level_title(level, defense).lower()
    attacks = ", ".join(sorted({cell.attack for cell, _ in cells}))
    boxes = tuple(_box(place, f"{defense_title(defense)}, {who}", cells, scores) for place in range(count))
    note = attacks if defense == NO_DEFENSE else f"{level_title(level, defense)}; {attacks}"
    return Strip(defense_title(defense), note, boxes)


def _box(place: int, what: str, cells: list[tuple[CellResult, Pictures]], scores: Scores) -> Picture:
    """Return the reconstruction of one image with the highest SSIM among the cells."""
    solved = [(found, held) for cell, held in cells if (found := scores.get((cell.id, place))) is not None]
    if not solved:
        return Picture("", f"{what}, image {place + 1}: the attack returned no image", ("no result",))
    found, held = max(solved, key=lambda pair: pair[0].get("ssim", float("-inf")))
    lines = tuple(_captions(found))
    alt = f"Reconstruction of image {place + 1}, {what}: {', '.join(lines)}"
    return Picture(_png(held.reconstructions[place]), alt, lines, found.get("identified") == 1)


def _captions(found: dict[str, float]) -> Iterable[str]:
    """Return the numbers under a reconstruction."""
    if "ssim" in found:
        yield f"SSIM {measure('ssim', found['ssim'])}"
    if "psnr" in found:
        yield f"PSNR {measure('psnr', found['psnr'])}"
    if "rank" in found:
        yield f"rank {measure('rank', found['rank'])}"


def _scores(run: Run) -> Scores:
    """Return the measures by cell and victim; what is not a number is left out."""
    scores: Scores = {}
    table = run.scores.dropna()
    for cell, victim, metric, value in zip(*(table[name] for name in table.columns), strict=True):
        scores.setdefault((str(cell), int(victim)), {})[str(metric)] = float(value)
    return scores


def _png(image: np.ndarray) -> str:
    """Return an image (c h w) as a data URI; of other than one or three channels the first is shown."""
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
