"""The Shadow defence: Jiang, Ma and Yang 2025 (arXiv:2506.15711; Medical Image Analysis 105:103673).

A generator plays the attacker on the client's own batches. Where it comes close, the image is taken to leak, and gets
noise before the client trains on it; where the task looks, it gets less.

    z     = argmin MSE(G(z), x), then kept;   G takes a few steps on its loss
    n     = softmax(equalise(1 / softmax((G(z) - x)^2 / 20)) / 20)
    n_old = 0.1 n_old + 0.9 n,   G = (G before + G after) / 2
    x'    = x + | max x / max n' * s * exp(r / R) | n',   n' = n less Grad-CAM++ on its top pixels

Each line has a file in ``shadow``: ``shadow_model`` and ``objective``, ``equalisation``, ``memory`` and ``noise_map``;
Grad-CAM++ is ``leakward.models.activation``.

| symbol | field |
|---|---|
| G | ``prior``, or ``latent``, ``channels``, ``iterations`` |
| steps and rate of z | ``latent_steps``, ``latent_learning_rate`` |
| steps and rate of G, rounds in which it moves | ``shadow_steps``, ``shadow_learning_rate``, ``shadow_rounds`` |
| s, R | ``strength``, ``rounds`` |
| share of top pixels | ``protected`` |

r is the number of times the client has used the image before, which with one local epoch is the number of its rounds;
from R - 1 on it stays. The noise itself is taken as given by whoever differentiates the step.

An attacker who knows of it recovers x' as if there were no defence. Subtracting the noise would take a code and a
generator like the client's, except in the published form, where a plain grey image in place of G(z) gives most of it.
No attack here does so; it would matter only to those that come within the size of the noise.

The authors' code departs from their description in several ways. ``form`` takes all of them as they are, or mends all
of them, and ``except_for`` names those to be treated the other way:

| name | as published | mended |
|---|---|---|
| start | G's weights are drawn, the trained ones never loaded | G is trained on the site's images, or is ``prior`` |
| latent | gradients of z add up over 500 steps of rate 0.001 | every step has its own, and there are 50 of rate 0.1 |
| mode | G(z) passes BatchNorm in eval mode, x in train mode | both in train mode |
| bins | equalisation counts in one bin and looks up in another | looks up in its own |
| layout | the equalised map is scrambled | it stays in place |
| protection | a nearly constant map is subtracted | n is scaled down by up to a on the top pixels |
| class | Grad-CAM++ is that of class 1 | that of the image's own class |
| memory | n is added for 20 rounds, n_old after them | n_old is added from the first |

What differs from the authors' code in both: G is a small generator without a mapping network, not StyleGAN3, and all of
it moves; z is fitted at the image's first use and without early stopping, which in their code raises; 500 steps of rate
0.001 move an entry of z by 0.29 at most, which leaves a small generator below the mean image; Grad-CAM++ never
runs in train mode, as theirs does in round 0; variances are unbiased throughout.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.data.dataset import Dataset
from leakward.defenses.equality import same_fields
from leakward.defenses.shadow.memory import Recalled, blank, certain, recall, remember
from leakward.defenses.shadow.noise_map import leak_map, perturbation, spare
from leakward.defenses.shadow.objective import message
from leakward.defenses.shadow.shadow_model import (
    MENDED_FIT,
    PUBLISHED_FIT,
    CodeFit,
    Shadow,
    as_vector,
    draw_weights,
    from_vector,
    pack,
    unpack,
)
from leakward.errors import DefenseError, ModelError
from leakward.federated import Defense, NoDefense, Step
from leakward.fields import check, one_of, positive, whole
from leakward.generators import Generator, PriorSettings, load_prior, train_prior
from leakward.models import Task
from leakward.models.activation import class_activation, keep_top
from leakward.tape import Tape
from leakward.types import Tensors

Form = Literal["published", "intended"]
Quirk = Literal["start", "latent", "mode", "bins", "layout", "protection", "class", "memory"]
NEW = 0.9
"""Share of the newest map in the one that is kept."""
AVERAGE = 0.5
"""Share of the moved generator in the one that is kept."""
PUBLISHED_CLASS = 1


@dataclass(frozen=True)
class ShadowDefense(Defense):
    """Add noise where a generator of one's own reconstructs an image well.

    Attributes:
        form: Whether the quirks of the authors' code are kept or mended.
        except_for: Quirks to be treated the other way.
        prior: Path of a saved prior to start the generator from; if empty, one is trained on the site's images.
        latent: Numbers of a code.
        channels: Of the generator's largest feature map.
        iterations: Of the generator's training in ``prepare``.
        latent_steps: Of fitting a code; by default 500 as published and 50 as mended.
        latent_learning_rate: Of AdamW; by default 0.001 as published and 0.1 as mended.
        shadow_steps: Of the generator, at every use of a batch.
        shadow_learning_rate: Of Adam for a batch of four; a tenth of it for one image, twice as much from eight on.
        shadow_rounds: Uses of an image in which the generator moves and the noise map is made anew.
        rounds: R, over which the noise grows e-fold.
        strength: s, peak of the noise as a share of the largest entry of the image, above 0.
        protected: Share of the pixels that are spared, in [0, 1].
        fitted: Weights of the generator, set by ``prepare``; they stay with the client.
    """

    form: Form = "published"
    except_for: tuple[Quirk, ...] = ()
    prior: str = ""
    latent: int = 64
    channels: int = 8
    iterations: int = 300
    latent_steps: int | None = None
    latent_learning_rate: float | None = None
    shadow_steps: int = 5
    shadow_learning_rate: float = 1e-3
    shadow_rounds: int = 20
    rounds: int = 100
    strength: float = 0.19
    protected: float = 0.3
    fitted: Float[Tensor, " p"] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        quirks = get_args(Quirk)
        named = {*self.except_for} <= {*quirks} and len({*self.except_for}) == len(self.except_for)
        counts = ("latent", "channels", "iterations", "shadow_steps", "shadow_rounds", "rounds")
        check(
            self,
            one_of("form", self.form, get_args(Form)),
            ("except_for", self.except_for, f"different ones of {', '.join(quirks)}", named),
            ("prior", self.prior, "none where the start is as published", not self.prior or self.mends("start")),
            *(whole(name, getattr(self, name)) for name in counts),
            whole("latent_steps", self._latent_fit.steps),
            positive("latent_learning_rate", self._latent_fit.learning_rate),
            positive("shadow_learning_rate", self.shadow_learning_rate),
            positive("strength", self.strength),
            ("protected", self.protected, "a number in [0, 1]", 0 <= self.protected <= 1),
        )

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, ShadowDefense) else NotImplemented

    @property
    def keeps_private(self) -> bool:
        """Return that it keeps the shadow."""
        return True

    @property
    def mixes_images(self) -> bool:
        """Return that every image moves the generator and the histogram, and by them the noise on the others."""
        return True

    def mends(self, quirk: Quirk) -> bool:
        """Return whether a quirk of the authors' code is mended."""
        return (self.form == "intended") != (quirk in self.except_for)

    def files(self) -> tuple[Path, ...]:
        """Return the saved prior, if one is named."""
        return (Path(self.prior),) if self.prior else ()

    def prepare(self, task: Task, data: Dataset, rng: torch.Generator) -> Defense:
        """Train the generator on the site's images, or read it, unless its weights are drawn as published."""
        if not self.mends("start"):
            return self
        if self.prior:
            found = load_prior(Path(self.prior), task.spec.input_shape)
        else:
            settings = PriorSettings(self.iterations, latent=self.latent, channels=self.channels)
            found = train_prior(data.subset("train")[0], settings, rng)
        shape, fitted = found.generator, as_vector(found.generator, found.state)
        return replace(self, latent=shape.latent, channels=shape.channels, fitted=fitted)

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        """Start from the fitted generator, or draw one, with nothing remembered."""
        generator, like = self._generator(task), state[task.parameter_names[0]]
        memory = blank(task.spec.input_shape, self.latent, like)
        if not self.mends("start"):
            return pack(draw_weights(generator, tape, like)) | memory
        expected = sum(torch.Size(shape).numel() for shape in generator.parameters.values())
        if self.fitted is None or self.fitted.numel() != expected:
            raise DefenseError(
                f"ShadowDefense: expected a generator of {expected} weights, got "
                f"{'none' if self.fitted is None else self.fitted.numel()}; call prepare with this model and data first"
            )
        return pack(from_vector(generator, self.fitted.to(like))) | memory

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Let the shadow reconstruct the batch, and put noise where it comes close."""
        start = tape.normal((len(step.images), self.latent), step.images)
        given = replace(step, images=step.images.detach(), labels=step.labels.detach())
        state = {name: value.detach() for name, value in (parameters | step.buffers).items()}
        seen = recall(step.private, given.images)
        active = seen.visits < self.shadow_rounds
        shadow, weights = Shadow(task, self._generator(task)), unpack(step.private)
        codes = self._codes(shadow, weights, start, given, seen)
        moved = weights if certain(~active) else self._moved(shadow, weights, codes, given, state)
        fresh = self._leaks(shadow, moved, codes, given)
        kept = _by_image(
            active, torch.where(_column(seen.known), (1 - NEW) * seen.maps + NEW * fresh, fresh), seen.maps
        )
        noise = kept if self.mends("memory") else _by_image(active, fresh, kept)
        weights = {n: torch.where(active.any(), _mean(w, moved[n]), w) for n, w in weights.items()}
        private = remember(step.private, seen, given.images, codes, kept) | pack(weights)
        added = self._noise(task, state, given, noise, seen.visits)
        return replace(step, images=task.denormalize(task.normalize(step.images) + added), private=private)

    def public(self) -> Defense:
        """Leave out the fitted generator: whoever runs the defence without it draws one."""
        if not self.mends("start"):
            return self
        others = tuple(name for name in self.except_for if name != "start")
        return replace(
            self, except_for=others if "start" in self.except_for else (*others, "start"), prior="", fitted=None
        )

    def replay(self) -> Defense:
        """Replay the undefended client, which recovers x', an image close to x."""
        return NoDefense()

    @property
    def _latent_fit(self) -> CodeFit:
        """Return how codes are fitted."""
        chosen = MENDED_FIT if self.mends("latent") else PUBLISHED_FIT
        own = {"steps": self.latent_steps, "learning_rate": self.latent_learning_rate}
        return replace(chosen, **{name: value for name, value in own.items() if value is not None})

    def _generator(self, task: Task) -> Generator:
        return Generator(task.spec.input_shape, self.latent, self.channels)

    def _codes(self, shadow: Shadow, weights: Tensors, start: Tensor, step: Step, seen: Recalled) -> Tensor:
        if certain(seen.known):
            return seen.codes
        fitted = shadow.fit_codes(weights, start, shadow.task.normalize(step.images), self._latent_fit)
        return torch.where(seen.known[:, None], seen.codes, fitted)

    def _moved(self, shadow: Shadow, weights: Tensors, codes: Tensor, step: Step, state: Tensors) -> Tensors:
        """Return the generator after its steps against what the batch itself would send."""
        task, inputs = shadow.task, shadow.task.normalize(step.images)
        own = "train" if task.has_batchnorm else "eval"
        try:
            target = message(task, state, step.images, step.labels, own)
        except ModelError as error:
            raise DefenseError(f"ShadowDefense: {error}") from error
        return shadow.descend(
            weights, codes, inputs, step.labels, state, target, mode=own if self.mends("mode") else "eval",
            steps=self.shadow_steps, learning_rate=self.shadow_learning_rate,
        )  # fmt: skip

    def _leaks(self, shadow: Shadow, weights: Tensors, codes: Tensor, step: Step) -> Tensor:
        """Return n of a batch."""
        shown = shadow.task.normalize(shadow.show(weights, codes))
        residual = shown - shadow.task.normalize(step.images)
        return leak_map(residual, own_bin=self.mends("bins"), in_place=self.mends("layout"))

    def _noise(self, task: Task, state: Tensors, step: Step, noise: Tensor, visits: Tensor) -> Tensor:
        """Return x' - x in the network's input range."""
        progress = visits.clamp(max=self.rounds - 1).to(noise) / self.rounds
        labels = step.labels if self.mends("class") else torch.full((len(noise),), PUBLISHED_CLASS, device=noise.device)
        try:
            cam = class_activation(task, state, step.images, _probabilities(labels, task.spec.num_classes, noise))
        except ModelError as error:
            raise DefenseError(f"ShadowDefense: {error}") from error
        spared = spare(noise, keep_top(cam, self.protected), progress, relative=self.mends("protection"))
        return perturbation(task.normalize(step.images), spared, progress, self.strength)


def _probabilities(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    if labels.ndim == 2:
        return labels.to(like)
    return (labels[:, None] == torch.arange(classes, device=like.device)).to(like)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _by_image(condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(_column(condition), then, otherwise)


def _mean(before: Tensor, after: Tensor) -> Tensor:
    return (1 - AVERAGE) * before + AVERAGE * after
