"""Jiang, Ma and Yang 2025, the shadow defence (arXiv:2506.15711; Medical Image Analysis 105:103673).

What their code does: nine clients of 1 to 512 images train ResNet-18 by FedAvg on chest X-rays and on fundus images;
what they send in rounds 1, 25, 50, 75 and 100 is attacked by an optimisation and by a search of a generator. Of the
paper itself only the abstract is known.

| of the paper | here |
|---|---|
| clients of 8, 32, 128, 512, 8, 32, 128, 512 and 1 images; batches of 4, 8 and 1 | ``Size.shares``, ``BATCHES`` |
| rounds 1, 25, 50, 75, 100 | after none, a quarter, a half, three quarters and all of the rounds |
| optimisation-based attack, as its code does it and as meant | ``fl-gradient-inversion``, both forms |
| generator-based attack | ``gias`` |
| four differences of the abstract | ``SETS`` |
| target region | ``ssim_inside``, ``mse_inside``, and both outside |
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leakward.data.files import VARIABLE, data_folder
from leakward.errors import DataError
from leakward.reproduce import figures, shadow_claims, shadow_sections
from leakward.reproduce.paper import Claim, Paper, Scale
from leakward.reproduce.results import Results
from leakward.reproduce.shadow_plan import MEASURES, SETS, SIZES, Images, Size, plans

PICTURED, ATTACK = "chest/batch 1", "gias"


class ShadowPaper(Paper):
    """The reproduction of this paper."""

    name = "shadow"
    title = "The shadow defence, reproduced"
    source = "Jiang, Ma and Yang 2025 (arXiv:2506.15711)"
    metrics = MEASURES
    shared_trainings = True

    def parts(self, scale: Scale) -> Mapping[str, Mapping[str, Any]]:
        """Return, for each set, a plan for updates of 1, 4 and 8 images, and one for ResNet-18 at its start."""
        size, root = SIZES[scale], data_folder()
        if root is None:
            folders = ", ".join(_folder(images, size) for images in SETS.values())
            raise DataError(f"shadow: expected {VARIABLE} to name a folder with {folders}, got none; set it")
        return {
            f"{key}/{part}": plan
            for key, images in SETS.items()
            for part, plan in plans(str(root / _folder(images, size)), images, size).items()
        }

    def differences(self, scale: Scale) -> tuple[str, ...]:
        """Return what is not as in the paper, or not known of it."""
        size = SIZES[scale]
        return (*_of_scale(size), *ALWAYS)

    def claims(self, results: Results) -> tuple[Claim, ...]:
        """Return what came of every claim of the abstract, for the published and the intended form."""
        return shadow_claims.claims(results)

    def sections(self, results: Results, folder: Path) -> Mapping[str, str]:
        """Return differences, accuracy, all attacks over time, all measures, the figures, and the pictures."""
        found = {
            **shadow_sections.sections(results),
            "Over the training": shadow_sections.over_training(results, folder),
        }
        if (folder / figures.PICTURES).exists():
            rows = ", ".join(["the images", *map(shadow_sections.short, results.defenses(PICTURED))])
            found["Pictures"] = (
                f"![reconstructions]({self.name}/{figures.PICTURES})\n\n"
                f"Chest X-rays, updates of one image at the end of training, by {ATTACK}; from above: {rows}."
            )
        return found

    def keep(self, runs: Mapping[str, Path], folder: Path) -> None:
        """Write pictures of what was recovered from single images with every defence."""
        figures.pictures(runs[PICTURED], folder / figures.PICTURES, ATTACK)


ALWAYS = (
    "Of the paper only the abstract is known, and its code without results: tables, baselines and ablations are not.",
    "An attacked update is one local step on one batch, of a client that has trained in all rounds before; theirs is a "
    "client's whole round, of which their attack replays one step. Single images come from the client of the fourth "
    "share: that of the client with one image would be a single victim.",
    "Reconstructions are matched to the images of their update; the paper's measures take, each for itself, the best "
    "of all images of the client, after stretching a reconstruction to the full range.",
    "The attacked client goes on with its shadow, codes, maps and counts of uses as the training has left them.",
    "G is a small generator, trained by each client on its own images as intended and never trained as published; "
    "theirs is StyleGAN3, whose weights are not at hand. The attacker's generator is trained on public images.",
    "As published Grad-CAM++ is that of class 1: the disease in the paper, no finding in both stand-ins.",
    "The optimisation-based attack has weights and rates that serve any network, is granted the labels and adds no "
    "noise to the image; its published form does not reproduce the drift of their network. `gaussian-prior` is there "
    "as a stronger attack that is differentiable throughout.",
    "Random noise is drawn anew at every step, in sizes measured on batches of four in their first round, and grows "
    "with the rounds as the shadow's does; brightness does not grow.",
    "Weights start at random, not from ImageNet; the learning rate does not fall at rounds 40 and 80.",
    "LPIPS is left out: the backbone that it needs has to be downloaded.",
    "The target region is the 30 % of the pixels where the network trained without a defence looks for the right class "
    "(in the paper's code: everything else). k-IIP is by the features of that network, which is the last one of its "
    "training (theirs: the best).",
    "One seed.",
)


def _folder(images: Images, size: Size) -> str:
    return images.own if size.own else images.stand_in


def _of_scale(size: Size) -> tuple[str, ...]:
    shares = "/".join(map(str, size.shares))
    if size.own:
        return ("ResNet-18 is MONAI's, whose first convolution has stride 1; theirs has 2.",)
    return (
        "The images are stand-ins: chest X-rays with COVID-19, with pneumonia and without finding, of one channel "
        "(theirs: COVID-19 and normal, three equal channels), and fundus images with and without diabetic retinopathy "
        f"(theirs: glaucoma); {size.side} x {size.side} pixels (theirs: 224).",
        f"Nine clients have {shares} images (theirs: 8/32/128/512/8/32/128/512/1) and train for {size.rounds} rounds "
        f"(theirs: 100) at a learning rate of {size.learning_rate} (theirs: 0.01).",
        "The network that is trained has three convolutions with BatchNorm and sigmoids, on which the attacks work; "
        "the paper's ResNet-18 is attacked at its random start alone, to see whether they do there.",
        f"{size.victims} updates per cell; {size.steps} steps of the optimisations (theirs: 40,000), {size.codes} of "
        f"the generator's codes and {2 * size.codes} of its weights (theirs: 5,000 each).",
        "Updates of four and of eight images are attacked less often than after every quarter of the training.",
    )
