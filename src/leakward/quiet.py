"""Quiet libraries."""

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet(name: str) -> Generator[None]:
    """Keep a library's log out of the terminal; what went wrong is told by our own errors and counts."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
