"""What is wrong with a site's files is for the site alone: an engine may tell a server whatever is raised."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from leakward.errors import LeakwardError, WithheldError

LOG = logging.getLogger("leakward")


@contextmanager
def told_to_the_site(what: str, kind: type[LeakwardError], client: str = "") -> Generator[None]:
    """Write an error of the block into the site's log, and raise one that says no more than ``what``.

    Args:
        what: Is wrong, in words that anyone may read.
        kind: Of the errors that name what only the site may know; others pass.
        client: Whose files they are, for the log; nobody where that is not known yet.

    Raises:
        WithheldError: Instead of an error of this kind.
    """
    try:
        yield
    except kind as error:
        LOG.warning("leakward: %s", f"{client}: {error}" if client else error)
        raise WithheldError(f"{what}; the site's log says why") from None
