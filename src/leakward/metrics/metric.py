"""The declaration every measure makes: unit, range, and which way leaks more."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """What a reader must know about a number before comparing it.

    Attributes:
        name: Registry name, and the word in the ``metric`` column of the scores.
        title: For table heads and axes.
        unit: ``dB``, ``yes/no`` (0 or 1 per image), ``place``, or empty where the number has none.
        low: Smallest value the measure can take.
        high: Largest value the measure can take.
        leaks_more: Which way a value gives more away.
        description: One sentence for the report.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    leaks_more: Literal["higher", "lower"]
    description: str

    @property
    def binary(self) -> bool:
        """Tell whether each image gets a plain yes or no."""
        return self.unit == "yes/no"

    def worst(self, values: Float[Tensor, " n"]) -> float:
        """Return the value that leaks most."""
        return float(values.max() if self.leaks_more == "higher" else values.min())
