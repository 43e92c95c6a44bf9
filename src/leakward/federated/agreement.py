"""The recipe that all sites and the server agree on where a defence is switched on.

It is made once, before anything else, as the network is by ``Defense.install``. From then on it is the recipe: the
client trains by it, the server sees it, and every attacker replays it, also one who knows of no defence.
"""

from dataclasses import fields

from leakward.errors import DefenseError
from leakward.federated.chain import parts_of
from leakward.federated.defense import Defense
from leakward.federated.recipe import LocalTraining


def agreed_recipe(recipe: LocalTraining, defense: Defense) -> LocalTraining:
    """Return ``recipe`` with what ``defense`` changes in it.

    Raises:
        DefenseError: If the defence cannot be applied to it, or its parts ask for different recipes.
    """
    made = defense.on_recipe(recipe)
    require_agreed(made, defense)
    return made


def require_agreed(recipe: LocalTraining, defense: Defense) -> None:
    """Raise ``DefenseError`` if a part of ``defense`` would still change ``recipe``: nobody must train without it."""
    for part in parts_of(defense):
        wanted = part.on_recipe(recipe)
        for name in (f.name for f in fields(recipe)):
            asked, found = getattr(wanted, name), getattr(recipe, name)
            if asked != found:
                raise DefenseError(
                    f"{type(part).__name__}: expected a recipe with {name} = {asked!r}, got {found!r}; "
                    "make it by agreed_recipe before the round, and let no two defences ask for different ones"
                )


def require_images(recipe: LocalTraining, defense: Defense, images: int) -> None:
    """Raise ``DefenseError`` if a client's ``images`` are too few for a round by the agreed ``recipe``."""
    if images < recipe.batch_images:
        raise DefenseError(
            f"recipe: expected at least {recipe.batch_images} images for a round, got {images}; "
            "lower batch_images, or give the client more"
        )
    require_step_images(recipe, defense, images)


def require_step_images(recipe: LocalTraining, defense: Defense, images: int) -> None:
    """Raise ``DefenseError`` if some local step on a client's ``images`` has too few of them for ``defense``."""
    least = min(recipe.step_sizes(images))
    for part in parts_of(defense):
        if least < part.step_images:
            raise DefenseError(
                f"{type(part).__name__}: expected at least {part.step_images} images in every local step, got {least}; "
                "raise batch_images or minibatch, or let minibatch divide batch_images"
            )
