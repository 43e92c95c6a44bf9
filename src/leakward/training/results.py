"""What a federated training came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakward.types import Tensors


@dataclass(frozen=True)
class ModelScores:
    """Of the server's model on the test split.

    Attributes:
        accuracy: In [0, 1].
        f1_macro: In [0, 1].
        auc: Area under the ROC curve, each class against the others, in [0, 1].
    """

    accuracy: float
    f1_macro: float
    auc: float


@dataclass(frozen=True)
class Traffic:
    """One exchange between the server and its clients.

    Attributes:
        clients: That sent an update in time.
        lost: That were asked and did not.
        seconds: From the first message sent to the last reply.
        bytes_down: Of all records that the server sent.
        bytes_up: Of all records that the clients sent back.
    """

    clients: int
    lost: int
    seconds: float
    bytes_down: int
    bytes_up: int


@dataclass(frozen=True)
class RoundResult:
    """One round: the exchange, and the model after it.

    Attributes:
        number: From 1.
        scores: Of the aggregated model.
        traffic: Of the exchange.
    """

    number: int
    scores: ModelScores
    traffic: Traffic


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A whole training.

    Attributes:
        rounds: In their order.
        state: Weights and buffers at the end.
        seconds: From the first round to the end of the last, tests included.
        kept: Weights and buffers after the rounds that the job keeps, by number.
        diverged: The round that gave no finite model, which ended the training; None if none did. The state is then
            that before it.
    """

    rounds: tuple[RoundResult, ...]
    state: Tensors
    seconds: float
    kept: Mapping[int, Tensors] = field(default_factory=dict)
    diverged: int | None = None
