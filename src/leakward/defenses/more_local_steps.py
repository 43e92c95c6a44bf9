"""More local steps: McMahan et al. 2017, "Communication-efficient learning of deep networks" (arXiv:1602.05629).

    w_0 = w,   w_t+1 = w_t - a grad L(w_t; B_t),   t = 0 .. E ceil(b / m) - 1,   u = w - w_T

| symbol | field |
|---|---|
| E | ``epochs`` over the images of the round |
| m | ``minibatch``, the images of a step |
| a | ``learning_rate`` |

The client sends how far it came, FedAvg's message, in place of one gradient or of fewer steps. As a setting that leaks
less it is examined by Wei et al. 2020 (arXiv:2004.10397). The attacker knows the recipe and replays all steps, which
takes as many times longer; orders of shuffled images it draws itself (Dimitrov et al. 2022, arXiv:2206.12395).

Optimiser, momentum, weight decay and order of the images are those of the recipe, which says them also where its
clients send one gradient and do without.
"""

from dataclasses import dataclass, replace

from leakward.defenses.recipe_defense import RecipeDefense
from leakward.errors import DefenseError
from leakward.federated import LocalTraining
from leakward.fields import check, positive, whole


@dataclass(frozen=True)
class MoreLocalSteps(RecipeDefense):
    """Let a client take more steps before it sends the change of its weights.

    Attributes:
        epochs: Passes over the images of the round, at least 1.
        minibatch: Images per local step, 0 for all of them; None leaves it to the recipe.
        learning_rate: Of the local optimiser, above 0; None leaves it to the recipe.
    """

    epochs: int = 5
    minibatch: int | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        check(
            self,
            whole("epochs", self.epochs),
            whole("minibatch", self.minibatch or 0, 0),
            positive("learning_rate", 1.0 if self.learning_rate is None else self.learning_rate),
        )

    def on_recipe(self, recipe: LocalTraining) -> LocalTraining:
        """Let the client train locally; a recipe that would not have more steps than before is refused."""
        made = replace(
            recipe,
            share="update",
            epochs=self.epochs,
            minibatch=recipe.minibatch if self.minibatch is None else self.minibatch,
            learning_rate=recipe.learning_rate if self.learning_rate is None else self.learning_rate,
        )
        before, after = (len(one.step_sizes(one.batch_images)) for one in (recipe, made))
        if made != recipe and after <= before:
            raise DefenseError(
                f"MoreLocalSteps: expected more local steps than the {before} of the recipe, got {after}; "
                "raise epochs, lower minibatch, or let larger-batches come first"
            )
        return made
