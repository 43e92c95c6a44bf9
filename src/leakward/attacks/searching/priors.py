"""What an attacker believes of images before seeing a message."""

from jaxtyping import Float
from torch import Tensor


def total_variation(images: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Return mean |vertical difference| + mean |horizontal difference|, each mean over the whole batch.

    Source: Rudin, Osher and Fatemi 1992, in the form of Geiping et al. 2020.
    """
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return vertical + horizontal
