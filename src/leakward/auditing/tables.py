"""The tables of a plan that are an audit's own, and the ``Plan`` that all of them make."""

from dataclasses import dataclass, replace
from typing import Literal

from leakward.attacks import Attack
from leakward.federated import Defense, LocalTraining, agreed_recipe
from leakward.metrics import Extra
from leakward.threat import Knowledge
from leakward.training import DataSettings, FederationSettings, ModelSettings


@dataclass(frozen=True)
class AuditSettings:
    """The ``[audit]`` table.

    Attributes:
        client: Under audit, from 0: whose images are attacked.
        victims: Updates attacked per cell and seed, at least 1; each holds ``recipe.batch_images`` images
            of every aggregated client, or as many as a defence makes of them.
        seeds: Independent repetitions, each with weights, victims and randomness of its own.
        knowledge: Levels at which every defence is attacked.
        labels: Whether labels are ``inferred`` by the attacker or ``granted``.
        public_images: Public images that the attacker holds, at most; 0 for none.
        after_rounds: How long the network has been trained with the defence when the attacked updates are sent: rounds
            of ``[federation]``, or epochs of ``[utility]`` where the site trains alone; 0 for its random start. The
            client goes on with what it has kept from these rounds.
        aggregated_clients: Clients whose messages come together by secure aggregation, at least 1; the attacker sees
            their mean alone. Each holds ``recipe.batch_images`` images of the site.
        images: Whether pictures are kept in the run folder and shown in the report.
        confidence: Of intervals, in (0, 1).
        measures: To be taken beside the usual ones: ``lpips``, ``rdlv``, ``k_iip`` and ``region``; the last two by the
            network that was trained without a defence.
    """

    client: int = 0
    victims: int = 8
    seeds: tuple[int, ...] = (0,)
    knowledge: tuple[Knowledge, ...] = ("unaware", "aware")
    labels: Literal["inferred", "granted"] = "inferred"
    public_images: int = 1000
    after_rounds: tuple[int, ...] = (0,)
    aggregated_clients: int = 1
    images: bool = True
    confidence: float = 0.95
    measures: tuple[Extra, ...] = ()


@dataclass(frozen=True)
class UtilitySettings:
    """The ``[utility]`` table: how accuracy with each defence is measured, if there is no ``[federation]``.

    Attributes:
        epochs: Passes over the site's images; 0 leaves utility out, that of a federation as well.
        batch_size: Images of a round, in the place of ``recipe.batch_images``.
        optimizer: Applied to the gradients that the client sends; what it sends after local steps is subtracted.
        learning_rate: Of that optimiser.
        train_images: At most this many of the site's images; 0 means all.
        delta: At which epsilon is stated, where a defence proves one.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: Literal["sgd", "adam"] = "adam"
    learning_rate: float = 1e-3
    train_images: int = 0
    delta: float = 1e-5


@dataclass(frozen=True)
class Plan:
    """What to audit; equal plans give equal tables.

    Attributes:
        data: Where the images come from.
        model: Which network.
        recipe: What a client does in a round.
        audit: How many victims, seeds and levels of knowledge.
        utility: How accuracy is measured.
        federation: How all clients train together; None where the site trains alone.
        attacks: At least one; the ensemble where a plan names none.
        defenses: ``NoDefense`` is always among them and comes first: it is the positive control.
    """

    data: DataSettings
    model: ModelSettings
    recipe: LocalTraining
    audit: AuditSettings
    utility: UtilitySettings
    federation: FederationSettings | None
    attacks: tuple[Attack, ...]
    defenses: tuple[Defense, ...]

    @property
    def local(self) -> LocalTraining:
        """Return the recipe of the site under audit, before any defence."""
        return self.recipe if self.federation is None else self.federation.recipe_of(self.recipe, self.audit.client)

    def agreed(self, defense: Defense) -> LocalTraining:
        """Return the recipe of an attacked round with ``defense``."""
        return agreed_recipe(self.local, defense)

    def trained(self, defense: Defense, count: int) -> LocalTraining:
        """Return the recipe of a round for utility with ``defense``, at a site that trains on ``count`` images."""
        return agreed_recipe(replace(self.recipe, batch_images=min(self.utility.batch_size, count)), defense)

    @property
    def training_rounds(self) -> int:
        """Return after how many rounds the training of a network ends; 0 where there is none."""
        return 0 if not self.utility.epochs else self.federation.rounds if self.federation else self.utility.epochs

    @property
    def kept_rounds(self) -> tuple[int, ...]:
        """Return after which rounds of training the weights are kept, beside those at its end."""
        return tuple(number for number in self.audit.after_rounds if 0 < number < self.training_rounds)

    def keeps_private(self, defense: Defense) -> bool:
        """Return whether the attacked updates follow from what a client has kept from earlier rounds."""
        return defense.keeps_private and max(self.audit.after_rounds) > 0

    def images_per_update(self, defense: Defense) -> int:
        """Return how many images are behind what the attacker sees of one round with ``defense``."""
        return self.agreed(defense).batch_images * self.audit.aggregated_clients
