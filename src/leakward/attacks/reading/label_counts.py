"""How many images of each class are behind a message, after Dimitrov et al. 2022 (arXiv:2206.12395), section 4.2.

For cross-entropy, T steps of SGD with rate a change the class biases by

    a sum_t (p_t - c / n) = a T (p - c / n),

where ``p_t`` is the mean confidence of a step's images, ``p`` its mean over the steps, and ``c`` counts the classes of
the n images. (With momentum a T becomes a longer way, which the recipe tells; a gradient is one step of rate 1.) The
confidence is not known, but it changes slowly: that of other images is taken, halfway between the weights before and
after. The authors use the rows of the last layer's weights, of which the features would have to be estimated as well.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from leakward.attacks.reading.labels import counted_labels, single_label
from leakward.attacks.reading.readable import readable
from leakward.threat import Observation
from leakward.types import generator

PROBES = 64
"""Images whose confidence stands in for that of the private ones."""
SHORTENED = tuple(2.0 ** (step / 4) for step in range(1, 61))
"""Factors by which clipping may have shortened the message."""
BETTER = 0.1
"""How much better, in cosine, one of them has to explain the message than none."""


def infer_labels(seen: Observation) -> Int[Tensor, " b"]:
    """Return the labels, sorted, that an attacker reads off the last layer of the message.

    One image: the iDLG rule. A batch: the counts that explain the change of the class biases best, or, where Adam hides
    how large the gradients were, those that its signs suggest.
    """
    sent = readable(seen)
    weight, bias = (sent[name] for name in seen.task.classifier)
    count, recipe = seen.update.images, seen.recipe
    if count == 1:
        return single_label(weight)
    if recipe.share == "update" and recipe.optimizer != "sgd":
        return counted_labels(bias, count)
    return explaining_labels(bias / sum(recipe.step_weights(seen.images_per_client)), _confidence(seen), count)


def explaining_labels(change: Float[Tensor, " k"], confidence: Float[Tensor, " k"], images: int) -> Int[Tensor, " b"]:
    """Return the labels, sorted, whose frequencies f make ``confidence - f`` most nearly ``change``.

    If the change is shorter than it should be, another length explains its direction better and is taken instead.

    Args:
        change: Of the class biases, per step and unit of the learning rate.
        confidence: Mean probability of each class.
        images: Number of labels.
    """

    def explained(scale: float) -> tuple[float, Tensor]:
        labels = _rounded(images * (confidence - scale * change), images)
        frequency = torch.bincount(labels, minlength=len(change)) / images
        return float(F.cosine_similarity(confidence - frequency, change, dim=0)), labels

    expected = explained(1.0)
    best = max((explained(scale) for scale in SHORTENED), key=lambda one: one[0])
    return best[1] if best[0] > expected[0] + BETTER else expected[1]


def _rounded(counts: Float[Tensor, " k"], images: int) -> Int[Tensor, " b"]:
    """Return labels, sorted, that occur about as often as ``counts`` says: the class that lacks most gets the next."""
    lacking, labels = counts.clone(), torch.empty(images, dtype=torch.long, device=counts.device)
    for i in range(images):
        labels[i] = lacking.argmax()
        lacking[labels[i]] -= 1
    return labels.sort().values


@torch.no_grad()
def _confidence(seen: Observation) -> Float[Tensor, " k"]:
    """Return the mean probability of each class, halfway between before and after the round."""
    sent = readable(seen)
    images = seen.task.denormalize(torch.randn(PROBES, *seen.task.spec.input_shape, generator=generator(0)))
    if seen.public is not None:
        images = seen.public.images[:PROBES]
    images = images.to(next(iter(sent.values())))
    states = [seen.state]
    if seen.recipe.share == "update":
        states.append(seen.state | {name: seen.state[name] - value for name, value in sent.items()})
    logits = (seen.task.forward(state, images, mode=seen.recipe.mode)[0] for state in states)
    return torch.stack([value.softmax(-1).mean(0) for value in logits]).mean(0)
