"""What the files of a finished run must hold; checked once, when they are read."""

from dataclasses import field
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

Status = Literal["leaks", "no leak found", "inconclusive"]

_IGNORE = ConfigDict(extra="ignore")


@dataclass(frozen=True, config=_IGNORE)
class Estimate:
    """A mean over images with its interval, and the image that leaks most."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    worst: float | None = None


@dataclass(frozen=True, config=_IGNORE)
class Worst:
    """The single number that weighs most in the verdict; all empty where there is none."""

    defense: str | None = None
    attack: str | None = None
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    victims: int | None = None
    chance: float | None = None


@dataclass(frozen=True, config=_IGNORE)
class Verdict:
    """A status and the sentence that gives its reason."""

    status: Status
    reason: str
    worst: Worst = Worst()


@dataclass(frozen=True, config=_IGNORE)
class DefenseResult:
    """One defence with its settings: leakage per attacker (worst case per image over attacks) beside utility."""

    defense: str
    name: str
    verdict: Verdict
    levels: dict[str, dict[str, Estimate]]
    victims: int
    updates: int
    accuracy: float | None = None
    f1_macro: float | None = None
    diverged: bool = False
    epsilon: float | None = None
    delta: float | None = None
    accountant: str | None = None
    identified_bound: float | None = None


@dataclass(frozen=True, config=_IGNORE)
class CellResult:
    """One attack on one defence at one knowledge level with one seed."""

    id: str
    data: str
    model: str
    attack: str
    defense: str
    knowledge: str
    recipe: str
    seed: int
    status: str
    victims: int
    metrics: dict[str, Estimate] = field(default_factory=dict)
    seconds: float | None = None
    class_f1: float | None = None
    server: str = "honest"
    after_rounds: int = 0
    members: tuple[str, ...] = ()


@dataclass(frozen=True, config=_IGNORE)
class UtilityResult:
    """What training with a defence reached."""

    defense: str
    accuracy: float | None = None
    f1_macro: float | None = None
    rounds: int | None = None
    clients: int | None = None


@dataclass(frozen=True, config=_IGNORE)
class Check:
    """One part of a control."""

    name: str
    passed: bool | None
    finding: str


@dataclass(frozen=True, config=_IGNORE)
class Control:
    """Whether a control passed (none: it was not run), what it found, and the numbers some controls add."""

    passed: bool | None
    finding: str
    mean_image: dict[str, float | None] = field(default_factory=dict)
    chance: float | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, config=_IGNORE)
class Controls:
    """The three controls of every audit."""

    positive: Control
    negative: Control
    consistency: Control


@dataclass(frozen=True, config=_IGNORE)
class Summary:
    """``summary.json``."""

    schema: Literal[1]
    leakward: str
    verdict: Verdict
    defenses: tuple[DefenseResult, ...]
    cells: tuple[CellResult, ...]
    controls: Controls
    utility: tuple[UtilityResult, ...] = ()
    threat: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, config=_IGNORE)
class DataFacts:
    """The data set behind the numbers."""

    name: str
    licence: str | None = None
    citation: str | None = None
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    site_images: int | None = None
    public_images: int | None = None
    test_images: int | None = None


@dataclass(frozen=True, config=_IGNORE)
class Facts:
    """Versions, machine, data and times of a run."""

    data: DataFacts
    leakward: str | None = None
    python: str | None = None
    torch: str | None = None
    platform: str | None = None
    cores: int | None = None
    device: str | None = None
    started: str | None = None
    finished: str | None = None


@dataclass(frozen=True, config=_IGNORE)
class PlanFile:
    """``plan.json``."""

    plan: dict[str, Any]
    facts: Facts


@dataclass(frozen=True, config=_IGNORE)
class Forecast:
    """What ``--estimate`` predicted for alike parts of an audit."""

    kind: str
    defense: str
    attack: str
    knowledge: str
    seconds: float


@dataclass(frozen=True, config=_IGNORE)
class Prediction:
    """``estimate.json``."""

    plan: dict[str, Any]
    forecasts: tuple[Forecast, ...]
