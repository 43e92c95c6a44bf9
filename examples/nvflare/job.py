"""Two sites and three rounds in FLARE's simulator: what leaves a site is defended, recorded, judged and entered."""

import argparse
from pathlib import Path
from typing import Any

from nvflare.recipe import SimEnv

from leakward.integrations.nvflare import DefenseFilter, ModelCheckFilter, SentModelFilter, SiteFilter
from leakward.live import LiveSite, SiteSettings, read_site
from leakward.models.build import find_factory
from server import LenientRecipe

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the job, and print the ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, default=HERE / "site.toml", help="file of the sites")
    parser.add_argument("--undefended", action="store_true", help="leave the defence out, and let the gate withhold")
    told = parser.parse_args()
    site, settings = told.site.resolve(), read_site(told.site)
    job = federation(settings, f"--site {site}")
    guard(job, site, defended=not told.undefended)
    job.execute(SimEnv(num_clients=2, workspace_root=str(HERE / "workspace")))
    for entry in LiveSite(settings, settings.home.name).ledger.entries():
        print(f"{entry.client}, round {entry.round}: {'sent' if entry.sent else 'withheld'}; {entry.reason}")


def federation(settings: SiteSettings, train_args: str) -> LenientRecipe:
    """Return the job as a team without Leakward would write it."""
    return LenientRecipe(
        name="leakward-example",
        model=network(settings),
        min_clients=2,
        num_rounds=3,
        train_script=str(HERE / "client.py"),
        train_args=train_args,
    )


def guard(job: LenientRecipe, site: Path, *, defended: bool, clients: list[str] | None = None) -> None:
    """Add Leakward's filters; in production a site sets them itself, in its ``privacy.json``."""
    job.add_client_input_filter(SentModelFilter(), ["train"], clients)
    job.add_client_input_filter(ModelCheckFilter(str(site)), ["train"], clients)
    if defended:
        job.add_client_output_filter(DefenseFilter({"name": "gaussian-noise", "std": 0.02}), ["train"], clients)
    job.add_client_output_filter(SiteFilter(str(site)), ["train"], clients)


def network(settings: SiteSettings) -> dict[str, Any]:
    """Return the network of the sites in FLARE's words."""
    task = settings.task
    factory: Any = find_factory(task.model)
    shape = {"input_shape": list(task.input_shape), "num_classes": task.num_classes}
    return {"class_path": f"{factory.__module__}.{factory.__name__}", "args": shape | dict(task.options)}


if __name__ == "__main__":
    main()
