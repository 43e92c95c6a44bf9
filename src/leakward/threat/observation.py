"""``Observation``: what the adversary holds, and ``observe``, the only door from private to visible."""

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from leakward.federated import Defense, Evidence, LocalTraining, NoDefense, Reply, Round, Update
from leakward.models import Task
from leakward.threat.model import ThreatModel
from leakward.types import Batch, Tensors


@dataclass(frozen=True, eq=False)
class Observation:
    """Everything an attack may use.

    Attributes:
        threat: The threat model it was made under.
        task: Architecture, loss and normalisation.
        state: Parameters and buffers before the round.
        recipe: What the client was asked to do.
        update: The message.
        defense: What the adversary knows of the defence; ``NoDefense`` if unaware.
        labels: Of the batch, if the threat model grants them.
        randomness: Realised draws, if the threat model grants them.
        public: Public images and their labels, if the threat model grants them; a capture does not keep them.
    """

    threat: ThreatModel
    task: Task
    state: Tensors
    recipe: LocalTraining
    update: Update
    defense: Defense
    labels: Int[Tensor, " b"] | None = None
    randomness: tuple[Tensor, ...] | None = None
    public: Batch | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (b, c, h, w) of the images to recover."""
        return (self.update.images, *self.task.spec.input_shape)

    @property
    def images_per_client(self) -> int:
        """Return how many images each client holds whose messages came together."""
        return self.update.images // self.threat.clients

    def evidence(self, message: Tensors | None = None) -> Evidence:
        """Return what the adversary makes of a message, by default the one it saw, by what it knows of the defence."""
        given = message or self.update.tensors
        seen = Reply(self.state, given, self.update.buffers, self.images_per_client, self.recipe)
        return self.defense.interpret(seen, self.threat.clients)


def observe(round_: Round, threat: ThreatModel, public: Batch | None = None) -> Observation:
    """Return what ``threat`` makes visible of a round; nothing else leaves it.

    Args:
        round_: The client's private side.
        threat: What the adversary may know.
        public: Images that anybody may hold; needed only where ``threat`` grants them.

    Raises:
        ValueError: If ``threat`` has another number of clients come together than did.
    """
    if threat.clients != round_.clients:
        raise ValueError(f"observe: expected a threat model of {round_.clients} clients, got {threat.clients}")
    oracle = threat.knowledge == "oracle"
    return Observation(
        threat=threat,
        task=round_.task,
        state=round_.state,
        recipe=round_.recipe,
        update=replace(round_.update, tensors=dict(round_.update.tensors), buffers=dict(round_.update.buffers)),
        defense={"unaware": NoDefense(), "aware": round_.defense.public(), "oracle": round_.defense}[threat.knowledge],
        labels=round_.batch.labels if threat.labels else None,
        randomness=tuple(round_.tape.values) if oracle else None,
        public=public if threat.public else None,
    )
