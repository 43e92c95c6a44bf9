"""The images of a round, handed over by the training at the site and read by nothing but the site's own scoring.

Hooks of an engine see weights and no images. So the training leaves its batch in a file of the site, and whoever
records the update of that round takes it away: a batch is used once, and never for the update of another round.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from leakward.errors import CaptureError
from leakward.types import Batch

NEXT = "next.safetensors"
"""The batch of the round that is not over."""
NAMES = ("images", "labels", "other_images", "other_labels")


@dataclass(frozen=True, eq=False)
class PrivateBatch:
    """What a site trained on in a round, and what else it holds.

    Attributes:
        batch: Of the round, in [0, 1].
        others: Of the site, and not in the round: among their images a reconstruction has to find the right one, and
            the attacker is given them for the public images that it may hold.
    """

    batch: Batch
    others: Batch

    def __post_init__(self) -> None:
        for part in (self.batch, self.others):
            images, labels = part.images, part.labels
            if images.dim() != 4 or labels.dim() != 1 or len(images) != len(labels):
                raise CaptureError(
                    f"private batch: expected images (b c h w) and a label for each, got shapes {tuple(images.shape)} "
                    f"and {tuple(labels.shape)}"
                )
            if not bool(((images >= 0) & (images <= 1)).all()):
                raise CaptureError("private batch: expected images in [0, 1]; hand them over before normalisation")
        if not len(self.batch) or self.batch.images.shape[1:] != self.others.images.shape[1:]:
            raise CaptureError("private batch: expected at least one image, and the other images of the same size")


def keep_private_batch(folder: Path, batch: PrivateBatch) -> None:
    """Leave the batch of the round in ``folder``, readable by its owner alone.

    Raises:
        CaptureError: If it cannot be written.
    """
    parts = (batch.batch.images, batch.batch.labels, batch.others.images, batch.others.labels)
    tensors = {name: value.detach().cpu().clone() for name, value in zip(NAMES, parts, strict=True)}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".batch-") as scratch:
            made = Path(scratch) / NEXT
            save_file(tensors, made)
            made.chmod(0o600)
            os.replace(made, folder / NEXT)
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"private batch: expected {folder} to be writable, got {type(error).__name__}") from error


def claim(folder: Path, name: str) -> Path | None:
    """Take the batch that was left in ``folder`` for the round ``name``; return its file, or None if there is none."""
    path = folder / f"{name}.safetensors"
    try:
        os.replace(folder / NEXT, path)
    except FileNotFoundError:
        return None
    return path


def drop(folder: Path) -> None:
    """Remove the batch that a round which was never finished left in ``folder``, if there is one."""
    (folder / NEXT).unlink(missing_ok=True)


def load_private_batch(path: Path) -> PrivateBatch:
    """Read a batch.

    Raises:
        CaptureError: If the file is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = [file.get_tensor(name) for name in NAMES]
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"private batch {path}: expected a file that Leakward wrote; record again") from error
    images, labels, other_images, other_labels = found
    return PrivateBatch(Batch(images.float(), labels.long()), Batch(other_images.float(), other_labels.long()))
