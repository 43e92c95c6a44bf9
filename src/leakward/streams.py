"""Names for contents and for random streams: equal content, equal name; equal words, equal numbers."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from leakward import __version__
from leakward.types import generator


def digest(content: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that stand for plain content and this version of Leakward."""
    text = json.dumps({"leakward": __version__, **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stream(*words: str | int) -> torch.Generator:
    """Return a generator for a purpose named by ``words``; equal words, equal numbers."""
    return generator(int(digest({"stream": [str(word) for word in words]}), 16) >> 1)
