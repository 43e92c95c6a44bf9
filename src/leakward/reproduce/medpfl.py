"""Das, Amini and Wu, MedPFL (arXiv:2409.18907; IEEE BIBM 2023, arXiv:2311.06643).

What their notebooks do: CPL, DLG and iDLG on 32 x 32 images, each with a LeNet of its own, and Inverting Gradients on
an untrained and a trained ResNet-18; Laplace noise of four levels against CPL; leakage while a network is trained. No
table of the paper is known, so the page has no number of theirs beside ours.

| of the paper | here |
|---|---|
| attack success rate: share of images with an SSIM of at least 0.9 | ``RECOVERED`` |
| SSIM as each notebook computes it | ``published_ssim`` |
| noise levels 100 to 400, the inverse of the scale b | ``NOISE`` and beyond |
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity

from leakward.data.files import VARIABLE, data_folder
from leakward.defenses import GaussianNoise, LaplacianNoise
from leakward.errors import DataError
from leakward.metrics import Summary
from leakward.parts import label
from leakward.report import markdown
from leakward.report.run import read_run
from leakward.reproduce import figures
from leakward.reproduce.medpfl_claims import all_recover, noise_may_fail, strongest_untrained
from leakward.reproduce.medpfl_plan import ATTACKS, BEYOND, GAUSSIAN, GRADINV, NOISE, SETS, SIZES, Table, plans
from leakward.reproduce.paper import Claim, Paper, Scale
from leakward.reproduce.results import Results

RECOVERED = 0.9
"""SSIM from which the paper counts an attack as a success."""
PUBLISHED = "published.parquet"
RANGES = {"cpl": 0.0, "idlg": 0.0, "dlg": 1.0, GRADINV: 255.0}
"""Data range that each notebook gives to SSIM; 0 leaves the formula without its constants."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, by which the notebook of Inverting Gradients normalises before it computes SSIM."""


class MedPFLPaper(Paper):
    """The reproduction of this paper."""

    name = "medpfl"
    title = "MedPFL, reproduced"
    source = "Das, Amini and Wu 2024 (arXiv:2409.18907)"
    metrics = ("ssim", "mse", "psnr", "identified")

    def parts(self, scale: Scale) -> Mapping[str, Table]:
        """Return the plans of every data set: own networks, ResNet-18, one common network, noise, and training."""
        size, root = SIZES[scale], data_folder()
        if root is None:
            raise DataError(f"medpfl: expected {VARIABLE} to name a folder with {', '.join(SETS)}, got none; set it")
        return {f"{name}/{part}": plan for name in SETS for part, plan in plans(str(root / name), size).items()}

    def differences(self, scale: Scale) -> tuple[str, ...]:
        """Return what is not as in the paper, or not known of it."""
        size = SIZES[scale]
        return (
            "No table of the paper was at hand; what is known are its notebooks, without their outputs.",
            "The images are stand-ins: melanoma and nevi of the ISIC archive, chest X-rays with and without COVID-19, "
            "and brain MRI of four classes, a few hundred each; grey ones have one channel here, three there.",
            f"{size.victims} images per cell (theirs: about 100), {size.evaluations} evaluations of L-BFGS (theirs: "
            f"300 iterations of up to 20), {size.iterations} steps of Inverting Gradients on ResNet-18 (theirs: 24,000 "
            f"and 8 starts). On the common network every attack takes {size.evaluations} gradients.",
            f"ResNet-18 sees {size.side} x {size.side} pixels (theirs: 224) and is trained on the site's images for "
            f"{size.epochs} epochs (theirs: on ImageNet); the attack is the same for both, by total variation of 1e-4.",
            "The notebooks leave the network of CPL one step of Adam away from its start; here it is at its start.",
            "They show the iterate that is closest to the truth; here the attacker keeps the one with the least "
            "distance of gradients, as one who does not hold the truth has to.",
            "CPL and iDLG read labels off the gradient, DLG optimises them with the image; Inverting Gradients is "
            "granted them on ResNet-18, and reads them off on the common network.",
            "While a network is trained, the notebooks attack after iterations, this page after epochs.",
            "An SSIM as published uses another data range in each notebook, so that those of different attacks cannot "
            "be compared: 0 for CPL and iDLG, 1 for DLG, 255 on normalised pixels for Inverting Gradients. The range 0 "
            "gives no number where both images are flat, which then counts as no success. DLG's notebook lets values "
            "outside of [0, 255] wrap; here images have none.",
        )

    def claims(self, results: Results) -> tuple[Claim, ...]:
        """Return what came of the three claims of the abstract."""
        return (all_recover(results), strongest_untrained(results), noise_may_fail(results))

    def sections(self, results: Results, folder: Path) -> Mapping[str, str]:
        """Return success rates, the common network, noise, and training."""
        published = pd.read_parquet(folder / PUBLISHED)
        found = {
            "Each attack on its own network": _inflated(results, published) + _attacks(results, published, own=True),
            "All attacks on one network": "The LeNet of iDLG. The paper lacks this: its comparison of attacks is one "
            "of networks as well.\n\n" + _attacks(results, published, own=False),
            "Noise": _noise(results),
            "While the network is trained": _progress(results, folder),
        }
        shown = {words: f"{name}.png" for name, words in SETS.items() if (folder / f"{name}.png").exists()}
        if shown:
            links = (f"![reconstructions of {words}]({self.name}/{file})" for words, file in shown.items())
            rows = ", ".join(["the images", *results.attacks(f"{next(iter(SETS))}/common")])
            found["Pictures"] = "\n\n".join([*links, f"All attacks on one network; from above: {rows}."])
        return found

    def keep(self, runs: Mapping[str, Path], folder: Path) -> None:
        """Write pictures, and the SSIM of every image as the attack's notebook would compute it."""
        for name in SETS:
            figures.pictures(runs[f"{name}/common"], folder / f"{name}.png")
        rows: list[dict[str, Any]] = []
        for part, run in runs.items():
            read = read_run(run)
            for cell in read.summary.cells:
                pictures, attack = read.pictures(cell.id), cell.attack.partition("(")[0]
                if pictures is None or cell.defense != "none":
                    continue
                own = {"part": part, "attack": attack, "after_rounds": cell.after_rounds}
                pairs = zip(pictures.originals, pictures.reconstructions, strict=True)
                rows += [{**own, "victim": i, "value": published_ssim(*pair, attack)} for i, pair in enumerate(pairs)]
        pd.DataFrame(rows).to_parquet(folder / PUBLISHED, index=False)


def published_ssim(original: np.ndarray, guess: np.ndarray, attack: str) -> float:
    """Return the SSIM of two images (c h w) of bytes by the data range and the scaling of the attack's notebook."""
    images = [image.astype(np.float64) / 255 for image in (original, guess)]
    if attack == GRADINV:
        mean, std = (np.array(value[: len(original)])[:, None, None] for value in (MEAN, STD))
        images = [(image - mean) / std for image in images]
    settings: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    with np.errstate(invalid="ignore"):
        found: Any = structural_similarity(*images, data_range=RANGES[attack], channel_axis=0, **settings)
    return float(found)


def _success(results: Results, **where: Any) -> Summary | None:
    return results.measure("ssim", at_least=RECOVERED, **where)


def _inflated(results: Results, published: Any) -> str:
    """Return what the SSIM of the notebook of Inverting Gradients makes of its success."""
    parts = [f"{name}/{GRADINV}" for name in SETS]
    theirs: Any = published[published["part"].isin(parts)]["value"]
    own = results.among([(part, GRADINV, time) for part in parts for time in results.times(part)])
    right = own.measure("ssim", at_least=RECOVERED)
    return (
        f"By the SSIM of its notebook {GRADINV} on ResNet-18 succeeds with {(theirs >= RECOVERED).mean():.0%} of the "
        f"images, by the right one with {markdown.interval(right, '{:.0%}')}.\n\n"
    )


def _attacks(results: Results, published: pd.DataFrame, *, own: bool) -> str:
    head = ["images", "attack", "success", "SSIM", "MSE", "identified", "success as published", "SSIM as published",
            "seconds per image"]  # fmt: skip
    rows = [
        [words, *_attack(results, published, f"{name}/{attack if own else 'common'}", attack, time)]
        for name, words in SETS.items()
        for attack in ATTACKS
        for time in results.times(f"{name}/{attack if own else 'common'}")
    ]
    return markdown.table(head, rows)


def _attack(results: Results, published: Any, part: str, attack: str, time: int) -> list[str]:
    where: dict[str, Any] = {"part": part, "attack": attack, "after_rounds": time}
    measures = {"ssim": "{:.2f}", "mse": "{:.4f}", "identified": "{:.0%}"}
    own = (published["part"] == part) & (published["attack"] == attack) & (published["after_rounds"] == time)
    theirs: list[float] = published[own]["value"].tolist()
    numbers = [value for value in theirs if value == value]
    return [
        f"{attack}, epoch {time}" if len(results.times(part)) > 1 else attack,
        markdown.interval(_success(results, **where), "{:.0%}"),
        *(markdown.interval(results.measure(name, **where), form) for name, form in measures.items()),
        f"{sum(value >= RECOVERED for value in theirs) / len(theirs):.0%}" if theirs else "none",
        f"{sum(numbers) / len(numbers):.2f}" if numbers else "none",
        f"{results.seconds(**where):.1f}",
    ]


def _noise(results: Results) -> str:
    defenses = results.defenses(f"{next(iter(SETS))}/noise")
    head = ["defence", *(f"{measure}, {words}" for words in SETS.values() for measure in ("success", "identified"))]
    settings = {label("defenses", LaplacianNoise(scale)): f"laplacian-noise {scale}" for scale in (*NOISE, *BEYOND)}
    settings[label("defenses", GaussianNoise(GAUSSIAN))] = f"gaussian-noise {GAUSSIAN}"
    rows = [
        [
            settings.get(defense, defense),
            *(
                markdown.interval(found, "{:.0%}")
                for name in SETS
                for found in (
                    _success(results, part=f"{name}/noise", defense=defense),
                    results.measure("identified", part=f"{name}/noise", defense=defense),
                )
            ),
        ]
        for defense in defenses
    ]
    about = "CPL on the LeNet of four convolutions. The paper's noise has scales from 0.0025 to 0.01."
    return f"{about}\n\n{markdown.table(head, rows)}"


def _progress(results: Results, folder: Path) -> str:
    """Return SSIM by epochs of training, and draw it."""
    times = results.times(f"{next(iter(SETS))}/training")
    found = {words: results.over_time("ssim", f"{name}/training") for name, words in SETS.items()}
    lines = [figures.Curve(words, own) for words, own in found.items()]
    figures.curves({"CPL": lines}, "epoch", "SSIM", folder / "training.svg")
    rows = [[words, *(markdown.interval(own.get(time), "{:.2f}") for time in times)] for words, own in found.items()]
    about = "SSIM of what CPL recovers from the LeNet of four convolutions, by the epochs of training before."
    table = markdown.table(["images", *(f"epoch {t}" for t in times)], rows)
    return f"{about}\n\n{table}\n\n![SSIM over the training]({folder.name}/training.svg)"
