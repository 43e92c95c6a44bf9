"""Controls: can the numbers of this run be trusted?"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from leakward.auditing.site import Site
from leakward.auditing.tables import Plan
from leakward.auditing.verdict import Verdict
from leakward.metrics import moments, psnr, rank, ssim


def positive(undefended: Verdict) -> dict[str, Any]:
    """Return whether the attacks leak where they must: without a defence."""
    return {"passed": undefended.status == "leaks", "finding": f"Without a defence: {undefended.reason}"}


def negative(site: Site, plan: Plan, frame: pd.DataFrame, chance: float) -> dict[str, Any]:
    """Return what an attacker gets from prior knowledge alone: the mean of public images, and no update."""
    most = max(plan.defenses, key=plan.images_per_update)  # which meets every image that another one meets
    index = torch.cat([site.victims(plan, most, seed).flatten() for seed in plan.audit.seeds])
    private = site.gallery[index]
    guess = site.mean_image.expand_as(private)
    ratio, similarity = float(psnr(private, guess).mean()), float(ssim(private, guess).mean())
    hits = int((rank(guess, moments(site.gallery), index) == 1).sum())
    finding = (
        f"The public mean image, without any attack, already has {ratio:.1f} dB PSNR and SSIM {similarity:.2f} against "
        f"the private images, and identifies {hits} of {len(private)}: PSNR alone would call that a leak."
    )
    undefended = frame[(frame["defense"] == "none") & (frame["metric"] == "psnr")]["value"]
    if len(undefended):
        finding += f" The undefended attacks have {undefended.mean():.1f} dB on average."
    return {
        "passed": hits <= max(1, round(3 * chance * len(private))),
        "finding": finding,
        "mean_image": {"psnr": round(ratio, 4), "ssim": round(similarity, 4), "identified": hits / len(private)},
        "chance": chance,
    }


def consistency(checks: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return whether update, state, mode and loss of every undefended observation belong together."""
    worst: dict[str, tuple[bool | None, str]] = {}
    for name, passed, finding in checks:
        if name not in worst or passed is False:
            worst[name] = (passed, finding)
    failed = [name for name, (passed, _) in worst.items() if passed is False]
    count = len(checks) // max(len(worst), 1)
    finding = f"Failed: {', '.join(failed)}." if failed else f"All checks of {count} undefended updates passed."
    listed = [{"name": name, "passed": passed, "finding": text} for name, (passed, text) in worst.items()]
    return {"passed": not failed, "finding": finding, "checks": listed}
