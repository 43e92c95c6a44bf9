"""Jiang, Firouzi and Chakrabarty 2025, learnable data perturbation (arXiv:2503.16542, version 1).

What they did: convolutional networks on CIFAR-10 and BloodMNIST; latent Gaussian noise, fixed or learned, with a
decoder and minimax training, against DP-SGD and BiDO; Inverting Gradients on updates of five local steps on eight
images. What the paper does not say is swept here and named in ``differences``.

| of the paper | here |
|---|---|
| tables III to V, PSNR in dB | ``PSNR`` |
| figure 4, MSE against accuracy | ``mse_normalised`` beside the accuracy of training |
| figure 5, accuracy on reconstructions against MSE | ``class_recovered`` beside ``mse_normalised`` |
| figures 2 and 3, pictures | ``pictures.png`` |
"""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

from leakward.defenses import DPSGD, LearnablePerturbation
from leakward.metrics import Summary
from leakward.report import markdown
from leakward.report.run import read_run
from leakward.reproduce import figures
from leakward.reproduce.learnable_perturbation_claims import (
    LEVELS,
    above,
    by,
    compare,
    family,
    found_in,
    strongest,
)
from leakward.reproduce.learnable_perturbation_plan import (
    DATA,
    PAPERS,
    SIZES,
    THEIRS,
    Size,
    Table,
    plan,
)
from leakward.reproduce.paper import Claim, Paper, Scale
from leakward.reproduce.results import Results

PSNR: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "cifar10": {
        "DP-SGD": (16.35, 13.28, 8.05, 6.94, 6.95, 6.86),
        "BiDO": (9.18, 8.5, 8.64, 8.48, 9.33, 8.82),
        "learnable perturbation": (6.72, 6.65, 6.43, 6.72, 6.32, 7.79),
    },
    "bloodmnist": {
        "DP-SGD": (10.43, 7.68, 6.78, 6.71, 6.84, 6.63),
        "BiDO": (9.29, 7.73, 11.17, 7.26, 7.31, 7.0),
        "learnable perturbation": (6.02, 6.21, 6.05, 6.26, 6.55, 6.37),
    },
}
"""Tables III to V, in the order of their columns; only those of BiDO are known by their settings."""
SHOWN = {
    "identified": ("identified", "{:.0%}"),
    "ssim": ("SSIM", "{:.2f}"),
    "class_recovered": ("class read", "{:.0%}"),
}
"""Measures of leakage, their words and forms."""


class LearnablePerturbationPaper(Paper):
    """The reproduction of this paper."""

    name = "learnable-perturbation"
    title = "Learnable data perturbation, reproduced"
    source = "Jiang, Firouzi and Chakrabarty 2025 (arXiv:2503.16542)"
    metrics = ("psnr_normalised", "mse_normalised", "psnr", "ssim", "identified", "class_recovered")

    def parts(self, scale: Scale) -> Mapping[str, Table]:
        """Return one plan for each data set."""
        size = SIZES[scale]
        return {name: plan(name, size) for name in DATA}

    def differences(self, scale: Scale) -> tuple[str, ...]:
        """Return what is not as in the paper, or not known of it."""
        size = SIZES[scale]
        return (
            "Not in the paper, and swept here: the means of fixed noise, the noise and the bound of DP-SGD (bound 1), "
            "the coefficient of the correlation (1), learning rates, and BiDO's measure (HSIC) and layers (the last).",
            "Not known of the paper: whether its victims were trained, how many batches it attacked (its percentages "
            "fit a single one), and what its attacker knew. Here: both, "
            f"{size.victims} batches of {size.batch_images} images (theirs: 8), and an attacker of either kind.",
            _network(size),
            _attacks(size),
            f"A site trains alone for {size.epochs} epoch{'s' * (size.epochs > 1)}, by the very steps that are "
            "attacked: five local ones of SGD. The paper trains with Adam for 150 to 400 epochs.",
            "CIFAR-10 is the first 4,000 images of its training set; BloodMNIST is rebuilt from its sources, with a "
            "split of its own.",
            "MSE and PSNR are the paper's, on normalised pixels; SSIM and identification are on pixels in [0, 1].",
        )

    def claims(self, results: Results) -> tuple[Claim, ...]:
        """Return what came of the two numbers of the abstract."""
        read = "the attacker's accuracy on reconstructed images falls by 12.5 points against the baselines"
        far = "MSE rises by more than 12.4 % against the baselines, at equal accuracy"
        found = by(results, strongest(results))
        return (compare(found, read, "class_recovered"), compare(found, far, "mse_normalised"))

    def sections(self, results: Results, folder: Path) -> Mapping[str, str]:
        """Return tables III to V, what knowing the defence brings, figures 4 and 5, and the pictures."""
        found = {f"PSNR on {words} (tables III to V)": _psnr(results, name) for name, words in DATA.items()}
        for name, words in DATA.items():
            found[f"Leakage and accuracy on {words}"] = _by_attack(results, name, _leakage)
        strong = by(results, strongest(results))
        found["Attackers who know the defence"] = _knowing(strong)
        for title, number in (
            ("MSE against accuracy (figure 4)", 4),
            ("Accuracy on reconstructions against MSE (figure 5)", 5),
        ):
            found[title] = "\n\n".join(_figure(strong, name, folder, number) for name in DATA)
        if (folder / figures.PICTURES).exists():
            last = results.times("bloodmnist")[-1]
            sent = results.among([("bloodmnist", strongest(results), last)])
            rows = ", ".join(["the images", *map(_words, dict.fromkeys(sent.scores["defense"]))])
            found["Pictures (figures 2 and 3)"] = (
                f"![reconstructions]({self.name}/{figures.PICTURES})\n\n"
                "Images of BloodMNIST (Acevedo et al. 2020, CC BY 4.0), trained network, aware attacker; from above: "
                f"{rows}."
            )
        return found

    def keep(self, runs: Mapping[str, Path], folder: Path) -> None:
        """Write the pictures of one update without a defence, and with each kind of defence."""
        run = runs["bloodmnist"]
        figures.pictures(run, folder / figures.PICTURES, read_run(run).summary.cells[0].attack)


def _network(size: Size) -> str:
    """Return how the network differs from the paper's."""
    width = size.model["width"]
    if size.model["name"] == THEIRS["name"]:
        return f"The network is the authors' convolutional one of width {width} (theirs: 64)."
    return (
        f"The network is `{size.model['name']}` of width {width}, trained with a momentum of {size.recipe['momentum']} "
        f"on batches of {size.batch_size}: the authors' convolutional one, of nine layers without BatchNorm, learns "
        "nothing in as few steps as there is time for."
    )


def _attacks(size: Size) -> str:
    """Return how the attacks differ from the paper's."""
    costs = [(one["name"], one["iterations"], one.get("restarts", 1)) for one in size.attacks]
    told = " and ".join(f"`{name}` takes {steps} steps and {n} start{'s' * (n > 1)}" for name, steps, n in costs)
    about = f"{told} (the notebook that they name: 24,000 and 8 of Inverting Gradients)"
    if size.attacks[0]["name"] == PAPERS["name"]:
        return f"{about}."
    return (
        f"{about}. In so few steps Inverting Gradients, which they used, comes far less close even without a defence: "
        f"claims and figures go by `{size.attacks[0]['name']}`, whose attacker holds public images."
    )


def _words(defense: str) -> str:
    """Return a label with the setting that is swept, also where it is the default."""
    swept = {"learnable-perturbation": f"mean={LearnablePerturbation().mean}",
             "dp-sgd": f"noise_multiplier={DPSGD().noise_multiplier}"}  # fmt: skip
    return f"{defense}({swept[defense]})" if defense in swept else defense


def _psnr(results: Results, part: str) -> str:
    """Return the paper's PSNR beside ours, unaware and aware, before and after training."""
    paper = ", ".join(f"{family} {min(v):.1f} to {max(v):.1f} dB" for family, v in PSNR[part].items())
    return f"In the paper: {paper}.\n\n{_by_attack(results, part, _psnr_table)}"


def _by_attack(results: Results, part: str, table: Callable[[Results, str], str]) -> str:
    attacks = results.attacks(part)
    return "\n\n".join(f"By `{attack}`:\n\n{table(by(results, attack), part)}" for attack in attacks)


def _psnr_table(results: Results, part: str) -> str:
    times = results.times(part)
    head = ["defence", *(f"{level}, epoch {t}" for t, level in product(times, LEVELS))]
    rows = [
        [
            _words(defense),
            *(
                markdown.interval(found_in(results, "psnr_normalised", part, defense, level, time), "{:.1f}")
                for time, level in product(times, LEVELS)
            ),
        ]
        for defense in results.defenses(part)
    ]
    return markdown.table(head, rows)


def _leakage(results: Results, part: str) -> str:
    last = results.times(part)[-1]
    head = ["defence", *(f"{words}, {level}" for level in LEVELS for words, _ in SHOWN.values()), "accuracy", "F1"]
    rows: list[list[str]] = []
    for defense in results.defenses(part):
        found = [
            markdown.interval(found_in(results, name, part, defense, level, last), form)
            for level in LEVELS
            for name, (_, form) in SHOWN.items()
        ]
        utility = [results.accuracy(part, defense, name) for name in ("accuracy", "f1_macro")]
        rows.append([_words(defense), *found, *("diverged" if value is None else f"{value:.3f}" for value in utility)])
    return markdown.table(head, rows)


def _knowing(results: Results) -> str:
    """Return what an attacker gains who knows the method, which the paper leaves as a question."""
    gained: list[bool] = []
    leaking: dict[str, int] = dict.fromkeys(LEVELS, 0)
    for part in DATA:
        for time, defense in product(results.times(part), results.defenses(part)):
            unaware, aware = (found_in(results, "ssim", part, defense, level, time) for level in LEVELS)
            if family(defense) != "learnable perturbation" or unaware is None or aware is None:
                continue
            gained.append(above(aware, unaware))
            for level in LEVELS:
                leaking[level] += results.above_chance(part=part, defense=defense, knowledge=level, after_rounds=time)
    return (
        "The paper leaves open what becomes of an attacker who learns of the defence. Here one who knows everything "
        f"but the drawn noise recovers more (SSIM, beyond both intervals) in {sum(gained)} of {len(gained)} settings "
        f"of the method, networks and sets; more images than by chance are identified in {leaking['aware']} of them, "
        f"and in {leaking['unaware']} by one who does not know."
    )


def _figure(results: Results, part: str, folder: Path, number: int) -> str:
    """Draw figure 4, accuracy of training against MSE, or 5, accuracy on reconstructions against MSE."""
    last, utility = results.times(part)[-1], number == 4
    points: list[figures.Point] = []
    cells = [(d, level) for d in results.defenses(part) for level in (LEVELS if d != "none" else ("aware",))]
    for defense, level in cells:
        x = found_in(results, "mse_normalised", part, defense, level, last)
        if utility:
            accuracy = results.accuracy(part, defense)
            y = None if accuracy is None else Summary(accuracy, None, None, accuracy, 1)
        else:
            y = found_in(results, "class_recovered", part, defense, level, last)
        if x is not None and y is not None:
            points.append(figures.Point(family(defense), level, x, y))
    name = f"figure-{number}-{part}.svg"
    words = "accuracy of training" if utility else "accuracy on reconstructions"
    figures.scatter(points, "MSE on normalised pixels", words, DATA[part], folder / name)
    return f"![{words} against MSE on {DATA[part]}](learnable-perturbation/{name})"
