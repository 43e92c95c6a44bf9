"""What defences have in common that are a recipe and nothing else."""

from leakward.federated import Defense, NoDefense


class RecipeDefense(Defense):
    """A defence that acts by the recipe alone, which all have agreed on: to see the recipe is to know all of it."""

    def replay(self) -> Defense:
        """Replay the client by the recipe that was seen; there is nothing else to it."""
        return NoDefense()
