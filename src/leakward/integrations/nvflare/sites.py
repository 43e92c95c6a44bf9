"""Which part of the site's folder is a client's: filters and training script have to agree on it."""

from pathlib import Path

from jaxtyping import Float, Int
from nvflare.apis.fl_context import FLContext
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.live import LiveSite, PrivateBatch, read_site
from leakward.live.settings import NAME
from leakward.types import Batch


def live_site(site: str | Path, client: str) -> LiveSite:
    """Return a client at a site.

    It has the name that the site's file says, followed by FLARE's where that is another: so a site that is called alike
    in both has one name, and the clients of a simulator, which share a file, have one each.

    Args:
        site: Path of the site's file.
        client: FLARE's name for it.

    Raises:
        LeakwardError: If the file is broken, or the name cannot be a folder.
    """
    settings = read_site(Path(site))
    if NAME.fullmatch(client) is None:
        raise LeakwardError(f"client: expected a name of letters, digits, - and _, got {client!r}; rename it")
    name = settings.home.name
    return LiveSite(settings, name if client == name else f"{name}-{client}")


def site_of_task(site: str, fl_ctx: FLContext) -> LiveSite:
    """Return the client at a site to which a task was given."""
    return live_site(site, fl_ctx.get_identity_name() or "")


def hand_over(
    site: str | Path,
    client: str,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    other_images: Float[Tensor, "o c h w"],
    other_labels: Int[Tensor, " o"],
) -> None:
    """Leave the images of a round where ``SiteFilter`` takes them from; a training script calls it before ``send``.

    Args:
        site: Path of the site's file.
        client: ``flare.get_site_name()``.
        images: That the client trained on in this round, in [0, 1].
        labels: Of these.
        other_images: Of the site, and not in the round.
        other_labels: Of these.

    Raises:
        LeakwardError: If the site's file is broken, the images are not in [0, 1], or they cannot be written.
    """
    live_site(site, client).keep(PrivateBatch(Batch(images, labels), Batch(other_images, other_labels)))
