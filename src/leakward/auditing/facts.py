"""On what a run ran: for the report, and for whoever wants to repeat it."""

import os
import platform
import sys
from typing import Any

import torch

from leakward import __version__
from leakward.auditing.site import Site
from leakward.errors import LeakwardError


def device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        LeakwardError: If it is unknown or not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise LeakwardError("--device cuda: expected a CUDA device, found none; use --device cpu")
    if name not in ("cpu", "cuda"):
        raise LeakwardError(f"--device {name}: expected cpu or cuda")
    return torch.device(name)


def facts(site: Site, started: str, finished: str | None) -> dict[str, Any]:
    """Return software, hardware and data of a run.

    Args:
        site: It ran on.
        started: Date and time.
        finished: Likewise; None as long as it is not.
    """
    data = site.data
    return {
        **software(),
        "device": str(site.device),
        "data": {
            "name": data.name,
            "licence": data.licence,
            "citation": data.citation,
            "classes": list(data.classes),
            "shape": list(data.image_shape),
            "site_images": len(site.gallery),
            "public_images": len(data.splits["val"]),
            "test_images": len(data.splits["test"]),
        },
        "started": started,
        "finished": finished,
    }


def software() -> dict[str, Any]:
    """Return versions and machine."""
    return {
        "leakward": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "command": sys.argv[0].rsplit("/", 1)[-1],
    }
