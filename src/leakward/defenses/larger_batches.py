"""Larger batches: more images behind every update, so that each has a smaller part in it.

    g = (1 / b) sum_i g_i,   i = 1 .. b

| symbol | field |
|---|---|
| b | ``batch_images`` |

As a setting that leaks less it is examined by Wei et al. 2020 (arXiv:2004.10397) and by Huang et al. 2021
(arXiv:2112.00059). It adds no noise and takes nothing away: the message still is a sum over all images, and attacks
for batches exist (GradInversion for up to 48 images, SPEAR and robbing-the-fed exactly). There is no proof in it.

The recipe is agreed by all and public, so that attackers of every level recover as many images as there are.
"""

from dataclasses import dataclass, replace

from leakward.defenses.recipe_defense import RecipeDefense
from leakward.federated import LocalTraining
from leakward.fields import check, whole


@dataclass(frozen=True)
class LargerBatches(RecipeDefense):
    """Let a client hold more images in every round.

    Attributes:
        batch_images: At least so many images are behind every update; at least 2.
    """

    batch_images: int = 8

    def __post_init__(self) -> None:
        check(self, whole("batch_images", self.batch_images, 2))

    def on_recipe(self, recipe: LocalTraining) -> LocalTraining:
        """Raise the number of images."""
        return replace(recipe, batch_images=max(recipe.batch_images, self.batch_images))
