"""``LiveSite``: the door through which every update of a client leaves, or does not."""

import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from leakward.errors import LeakwardError, WithheldError
from leakward.federated import Defense
from leakward.live.gate import Decision, judged
from leakward.live.ledger import Entry, Ledger, composed
from leakward.live.private import PrivateBatch, claim, drop, keep_private_batch, load_private_batch
from leakward.live.recording import observed, seen, unprotected
from leakward.live.settings import SiteSettings
from leakward.live.steps import drop_steps, take_steps
from leakward.parts import plain_part
from leakward.threat import save_capture
from leakward.types import Tensors

LOG = logging.getLogger("leakward")
CAPTURES, PRIVATE, LEDGER = "captures", "private", "ledger.jsonl"


@dataclass(frozen=True)
class LiveSite:
    """One client of a federation at a site.

    Attributes:
        settings: Of the site.
        client: Its name in the ledger and in the site's folder.
    """

    settings: SiteSettings
    client: str

    @property
    def folder(self) -> Path:
        """Return where captures and private batches of this client are."""
        return Path(self.settings.home.folder) / self.client

    @property
    def private(self) -> Path:
        """Return where private batches of this client are, and what its training leaves for the round."""
        return self.folder / PRIVATE

    @property
    def ledger(self) -> Ledger:
        """Return the ledger, which all clients of the site share."""
        return Ledger(Path(self.settings.home.folder) / LEDGER)

    def start(self) -> None:
        """Begin a round: what an earlier one left that was never finished is not of this one."""
        drop(self.private)
        drop_steps(self.private)

    def keep(self, batch: PrivateBatch) -> None:
        """Leave the batch of the round that is being trained on."""
        keep_private_batch(self.private, batch)

    def release(
        self, before: Tensors, after: Tensors, defense: Defense, number: int = 0, *, begun: bool = True
    ) -> None:
        """Record what is about to leave, judge it, and enter it; return if it may leave.

        Args:
            before: Weights and buffers that the client was sent.
            after: What is about to leave, defended.
            defense: By which; the server is taken to know it.
            number: Of the round, for the ledger.
            begun: Whether ``start`` began this round, so that steps which were counted are its own.

        Raises:
            WithheldError: If it must not leave, for whatever reason; the ledger and the site's log have the reason.
        """
        entry = Entry(self.client, number, False, "", 0, plain_part("defenses", defense))
        try:
            entry = replace(entry, steps=take_steps(self.private, begun))
            entry = self._entered(self._judged(entry, before, after, defense))
        except LeakwardError as error:
            entry = self._failed(entry, str(error))
        except Exception as error:  # its words may hold what must not be told
            entry = self._failed(entry, type(error).__name__)
        if not entry.sent:
            LOG.warning("leakward: %s, round %d withheld: %s", self.client, number, entry.reason)
            raise WithheldError("the site withholds the update of this round; its log and its ledger say why")

    def _judged(self, entry: Entry, before: Tensors, after: Tensors, defense: Defense) -> Entry:
        """Return the entry with what came of recording and judging."""
        name = f"{len(self.ledger.entries(self.client)) + 1:06d}"
        private, capture = claim(self.private, name), self.folder / CAPTURES / name
        shutil.rmtree(capture, ignore_errors=True)  # of a message that never left
        try:
            batch = None if private is None else load_private_batch(private)
            round_ = observed(self.settings, before, after, defense, batch)
            save_capture(seen(round_), capture)
            decision = self._decision(capture, private)
        finally:
            if not self.settings.home.record:
                shutil.rmtree(capture, ignore_errors=True)
                if private is not None:
                    private.unlink(missing_ok=True)
        return replace(
            entry,
            sent=decision.send,
            reason=decision.reason,
            identified=decision.identified,
            images=round_.update.images,
            unprotected=unprotected(round_, after),
        )

    def _decision(self, capture: Path, private: Path | None) -> Decision:
        gate = self.settings.gate
        if gate is None:
            return Decision(True, "recorded", None)
        if private is None:
            return Decision(False, "the training handed over no images of this round, which the gate needs", None)
        return judged(capture, private, gate)

    def _entered(self, entry: Entry) -> Entry:
        """Return the entry as it stands in the ledger."""
        delta = self.settings.home.delta
        epsilon = composed([*self.ledger.entries(self.client), entry], delta)
        made = replace(entry, epsilon=epsilon, delta=delta)
        self.ledger.append(made)
        return made

    def _failed(self, entry: Entry, reason: str) -> Entry:
        """Enter that nothing left, if that is possible at all."""
        withheld = replace(entry, sent=False, reason=reason)
        with suppress(Exception):
            return self._entered(withheld)
        return withheld
