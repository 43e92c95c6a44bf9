"""What a client keeps from round to round, as files: for an audit of the updates that it sends later on.

There is one file for each round after which weights are kept. It holds what the client kept after that round, or after
the last one before it in which it trained.
"""

import os
from pathlib import Path

from safetensors.torch import load_file, save_file

from leakward.types import Tensors


def file_name(number: int, client: int) -> str:
    """Return the name of the file of a client for the round ``number``."""
    return f"private-{number}-{client}.safetensors"


def write(folder: Path, number: int, client: int, private: Tensors) -> None:
    """Write what a client has kept, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{os.getpid()}-{file_name(number, client)}"
    save_file({name: value.detach().cpu().contiguous() for name, value in private.items()}, scratch)
    os.replace(scratch, folder / file_name(number, client))


def read(folder: Path, number: int, client: int) -> Tensors | None:
    """Return what a client had after round ``number``; None if it had not trained by then."""
    found = (folder / file_name(earlier, client) for earlier in range(number, 0, -1))
    there = next((path for path in found if path.is_file()), None)
    return None if there is None else load_file(there)
