"""``Bench``: where a cell or a training becomes a part of the run folder, one at a time, in whichever process.

What is made depends on the part alone: every part draws from streams of its own, and is computed by one thread, since
several would add numbers up in another order. So it does not matter who makes which part, or how often.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file

from leakward.auditing.attacking import NOTHING_SENT, attack_victims
from leakward.auditing.cell import Cell, cell_id, cells
from leakward.auditing.facts import device as device_named
from leakward.auditing.reader import Reader, open_reader
from leakward.auditing.site import Site, open_site
from leakward.auditing.store import Store
from leakward.auditing.tables import Plan
from leakward.auditing.trainings import Trainings
from leakward.errors import DivergedError, LeakwardError
from leakward.federated import Defense
from leakward.metrics import Moments, moments
from leakward.models import Task
from leakward.parts import label
from leakward.training import sites
from leakward.types import Tensors

CELL, PICTURES = "cell.json", "images.safetensors"


class Bench:
    """One process's opened site, and what it has fitted and can be used again.

    Attributes:
        plan: Of the audit.
        site: Under audit.
        store: Of the run folder.
        trained: Of trained networks; the same, unless audits share them.
        cells: By part.
        trainings: Of the plan.
    """

    def __init__(self, plan: Plan, site: Site, store: Store, trained: Store) -> None:
        self.plan, self.site, self.store, self.trained = plan, site, store, trained
        self.cells = {cell_id(plan, cell, site.fingerprint): cell for cell in cells(plan)}
        self.trainings = Trainings(plan, site, trained, self._defense)
        self._prepared: dict[tuple[Defense, int], Defense] = {}
        self._readers: dict[int, Reader | None] = {}

    def what(self, part: str) -> str:
        """Say what a part is."""
        cell = self.cells.get(part)
        if cell is None:
            return f"training with {label('defenses', self.trainings.parts[part].defense)}"
        what = f"{label('attacks', cell.attack)} on {label('defenses', cell.defense)}, {cell.knowledge}"
        return what + (f", after {cell.after_rounds} rounds" if cell.after_rounds else "")

    def there(self, part: str) -> bool:
        """Return whether a part is made, with all that the plan asks for."""
        if part in self.cells:
            return self.store.has(part, CELL, *([PICTURES] if self.plan.audit.images else []))
        return self.trainings.there(part)

    def make(self, part: str, progress: Callable[[float], None]) -> None:
        """Make a part, unless it is there.

        Args:
            part: Id of a cell, or of a training that is not a federation's.
            progress: Called with the fraction done.

        Raises:
            LeakwardError: If this process has opened other data than those that the id was made from.
        """
        if part not in self.cells and part not in self.trainings.parts:
            raise LeakwardError(
                f"part {part}: expected the data and the version of Leakward that the audit began with, found others; "
                "give every node the same"
            )
        if self.there(part):
            return
        with one_thread():
            if part in self.cells:
                self._attack(part, self.cells[part], progress)
            else:
                self.trainings.train(part, progress)

    @cached_property
    def _gallery(self) -> Moments:
        return moments(self.site.gallery)

    def _defense(self, defense: Defense, seed: int) -> Defense:
        """Return the defence fitted on the site's images."""
        key = (defense, seed)
        if key not in self._prepared:
            task, _ = self.site.start(defense, seed)
            self._prepared[key] = sites.prepare(defense, task, self.site.data, seed, self.plan.audit.client)
        return self._prepared[key]

    def _attack(self, part: str, cell: Cell, progress: Callable[[float], None]) -> None:
        defense = self._defense(cell.defense, cell.seed)
        reader = self._reader(cell.seed)
        try:
            start = self._start(cell, defense)
        except DivergedError:
            attacked = NOTHING_SENT
        else:
            attacked = attack_victims(self.plan, self.site, part, cell, defense, start, self._gallery, reader, progress)
        with self.store.new_part(part) as folder:
            Store.dump(folder / CELL, attacked.facts)
            if self.plan.audit.images and attacked.pictures:
                save_file(attacked.pictures, folder / PICTURES)

    def _start(self, cell: Cell, defense: Defense) -> tuple[Task, Tensors, Tensors | None]:
        """Return network and weights of the server, and the client's helpers, when the updates of a cell are sent."""
        task, state = self.site.start(defense, cell.seed)
        if not cell.after_rounds:
            return task, state, None
        trained = self.trainings.after(cell.after_rounds, cell.defense, cell.seed)
        private = self.trainings.private_after(cell.after_rounds, cell.defense, cell.seed)
        state = {name: trained[name].to(self.site.device) for name in state}  # a file keeps no order
        return task, state, private and {name: value.to(self.site.device) for name, value in private.items()}

    def _reader(self, seed: int) -> Reader | None:
        """Return the undefended model of this seed as a reader of images."""
        if seed not in self._readers:
            state = self.trainings.undefended(seed)
            self._readers[seed] = None if state is None else open_reader(self.plan, self.site, state)
        return self._readers[seed]


def open_bench(plan: Plan, out: Path, device: str, trainings: Path | None = None) -> Bench:
    """Load the data of a plan and return the bench on its run folder, and on that of trainings if it is another.

    Raises:
        LeakwardError: If the data, the device or the folder cannot be used.
    """
    site, store = open_site(plan, device_named(device)), Store(out)
    return Bench(plan, site, store, store if trainings is None else Store(trainings))


@contextmanager
def one_thread() -> Generator[None]:
    """Let PyTorch compute with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
