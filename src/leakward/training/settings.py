"""What a federation trains: a ``Job``, and the tables ``[data]``, ``[model]`` and ``[federation]`` of a plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from leakward.federated import Defense, LocalTraining, agreed_recipe
from leakward.federated.agreement import require_images
from leakward.fields import check, positive, whole

Plain = int | float | str | bool


@dataclass(frozen=True)
class DataSettings:
    """The ``[data]`` table.

    Attributes:
        name: Registry name, or the path of an ``.npz`` file or image folder.
        path: Where the data lies, if not in the usual places.
        size: Height and width in pixels, where the source can be resized.
        count: Number of images, where the source can be cut.
        seed: Of a procedural source, and of splits that the source leaves open.
        clients: Sites the training split is divided among; the audit is of the first.
        alpha: Dirichlet concentration of the division; 0 means identically distributed sites.
        shares: Images of every client, where they are not to be divided equally; of every class its share.
        site_images: Images of the site among which reconstructions are identified, at least 2.
    """

    name: str = "phantom"
    path: str | None = None
    size: int | None = None
    count: int | None = None
    seed: int = 0
    clients: int = 1
    alpha: float = 0.0
    shares: tuple[int, ...] | None = None
    site_images: int = 256


@dataclass(frozen=True)
class ModelSettings:
    """The ``[model]`` table: ``name``, and any option of that architecture.

    Attributes:
        name: Registry name, or ``package.module:factory``.
        options: Keyword arguments of the factory.
    """

    name: str = "convnet"
    options: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class FederationSettings:
    """The ``[federation]`` table: how the clients of ``[data]`` train together, each by the ``[recipe]``.

    Attributes:
        rounds: At least 1.
        fraction: Of the clients that train in a round, in (0, 1]; at least one does.
        images: Of a client's images that it trains on in a round, drawn afresh each time; 0 means all of them.
        minibatches: Images per local step of every client, where they are not those of the recipe.
        strategy: Name of a strategy of Flower, or ``package.module:Class``.
        settings: Keyword arguments of the strategy.
        timeout: Seconds that the server waits for the clients of a round; whoever is silent then is lost.
    """

    rounds: int = 10
    fraction: float = 1.0
    images: int = 0
    minibatches: tuple[int, ...] | None = None
    strategy: str = "FedAvg"
    settings: Mapping[str, Plain] = field(default_factory=dict)
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        check(
            self,
            whole("rounds", self.rounds),
            ("fraction", self.fraction, "a number in (0, 1]", 0 < self.fraction <= 1),
            whole("images", self.images, 0),
            ("minibatches", self.minibatches, "numbers of at least 1", min(self.minibatches or (1,)) >= 1),
            positive("timeout", self.timeout),
        )

    def recipe_of(self, recipe: LocalTraining, client: int) -> LocalTraining:
        """Return what ``client`` makes of the common recipe."""
        return recipe if self.minibatches is None else replace(recipe, minibatch=self.minibatches[client])


@dataclass(frozen=True)
class Job:
    """One training of one model by all clients; equal jobs train equally.

    Attributes:
        data: Divided among its ``clients``.
        model: Which network.
        recipe: What a client does in a round, before ``defense`` acts on it; ``batch_images`` gives way to the
            federation's ``images``.
        defense: Switched on at every client.
        federation: Rounds and strategy.
        seed: Of the first weights and of every random choice of clients and server.
        kept: Rounds after which the weights are kept, beside those at the end.
        helpers: Folder into which clients write the defence's helpers that they have after those rounds and at the end;
            nowhere if empty.
    """

    data: DataSettings
    model: ModelSettings
    recipe: LocalTraining
    defense: Defense
    federation: FederationSettings
    seed: int = 0
    kept: tuple[int, ...] = ()
    helpers: str = ""

    def recipe_of(self, client: int, images: int) -> LocalTraining:
        """Return the recipe of a client, who has so many images; its ``batch_images`` are those agreed for a round.

        Raises:
            DefenseError: If the defence cannot be applied to it, or asks for more images than there are.
        """
        own = self.federation.recipe_of(self.recipe, client)
        asked = replace(own, batch_images=min(self.federation.images or images, images))
        recipe = agreed_recipe(asked, self.defense)
        require_images(recipe, self.defense, min(images, recipe.batch_images))
        return recipe
