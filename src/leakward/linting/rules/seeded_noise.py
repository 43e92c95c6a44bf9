"""Noise that can be drawn again."""

import ast
from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flare import FlareJob, FlareSite
from leakward.linting.flower import FlowerApp
from leakward.linting.place import Place
from leakward.linting.python import Source
from leakward.linting.rules.epsilon_per_round import ENGINE
from leakward.linting.rules.filters import SVT
from leakward.linting.rules.parts import LOCAL_DP
from leakward.linting.rules.rounds import rounds_of_flare, rounds_of_flower
from leakward.linting.sources import FUNCTIONS, reached
from leakward.linting.values import Made, last, number

NUMPY, TORCH = "NumPy", "PyTorch"
SEEDS = {
    "numpy.random.seed": (NUMPY,),
    "torch.manual_seed": (TORCH,),
    "torch.random.manual_seed": (TORCH,),
    "monai.utils.set_determinism": (NUMPY, TORCH),
    "lightning.seed_everything": (NUMPY, TORCH),
    "lightning.pytorch.seed_everything": (NUMPY, TORCH),
    "pytorch_lightning.seed_everything": (NUMPY, TORCH),
}
"""What sets the state of which generators."""


def check(subject: Subject) -> Iterator[Found]:
    """Find constant seeds of the generators that noise is drawn from."""
    if isinstance(subject, FlareSite):
        return
    drawn = dict(noise for made in subject.calls() if (noise := _noise(made)) is not None)
    sources = [source for source in subject.sources if not _is_elsewhere(source, subject)]
    ran = _ran(subject) if drawn else frozenset[Place]()
    for made in (made for source in sources for made in source.calls):
        seed = number(made.setting("seed", 0))
        for generator in SEEDS.get(made.name, ()) if seed is not None else ():
            if generator in drawn:
                words = f"{made.name}({seed:g}), and {drawn[generator]} draws by {generator}"
                yield Found("problem" if made.place in ran else "remark", made.place, words)


def _ran(subject: FlowerApp | FlareJob) -> frozenset[Place]:
    """Return where calls stand that a client makes for certain, as far as names tell."""
    flower = isinstance(subject, FlowerApp)
    start = list(rounds_of_flower(subject) if flower else rounds_of_flare(subject.sources))
    top = [(source, node) for source in subject.sources for node in source.tree.body]
    start += [(source, node) for source, node in top if not isinstance(node, (*FUNCTIONS, ast.ClassDef))]
    calls = ((source, call) for source, node in reached(subject.sources, start) for call in ast.walk(node))
    return frozenset(source.place(call) for source, call in calls if isinstance(call, ast.Call))


def _noise(made: Made) -> tuple[str, str] | None:
    """Return the generator that noise is drawn from, and what draws it."""
    if made.of("flwr", LOCAL_DP) or made.of("nvflare", SVT):
        return NUMPY, last(made.name)
    secure = made.setting("secure_mode", default=False) is not False
    return (TORCH, ENGINE) if made.of("opacus", ENGINE) and not secure else None


def _is_elsewhere(source: Source, subject: FlowerApp | FlareJob) -> bool:
    """Return whether a file runs at the server, or where the job is made, and not at clients."""
    if isinstance(subject, FlareJob):
        return any(chain.place.path == source.path for chain in subject.chains)
    made = {last(call.name) for call in source.calls if call.of("flwr", "ServerApp", "ClientApp")}
    return made == {"ServerApp"}


SEEDED_NOISE = Rule(
    "seeded-noise",
    "Noise that is drawn from a generator with a known seed can be drawn again by whoever knows the program, and then "
    "it hides nothing.",
    "Set no seed where the client runs, or give what needs one a generator of its own; for Opacus, "
    "PrivacyEngine(secure_mode=True) takes another generator.",
    check,
)
