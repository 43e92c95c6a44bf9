"""Run the job of ``examples/nvflare`` with a server that keeps what it receives: KIND FOLDER.

``guarded`` is the example as it is. In ``one-withholds`` nothing is defended, and of the two sites one has a gate.
"""

import sys
from pathlib import Path

from flare_receiver import Receiver
from nvflare.recipe import SimEnv

EXAMPLE = Path(__file__).parents[2] / "examples" / "nvflare"
sys.path.append(str(EXAMPLE))


def main(kind: str, folder: Path) -> None:
    from job import federation, guard
    from leakward.live import read_site

    gated, text = folder / "site.toml", (EXAMPLE / "site.toml").read_text(encoding="utf-8")
    gated.write_text(text, encoding="utf-8")
    job = federation(read_site(gated), f"--site {gated}")
    if kind == "guarded":
        guard(job, gated, defended=True)
    else:
        recorded = folder / "recorded.toml"
        recorded.write_text(text[: text.index("[gate]")], encoding="utf-8")
        sites = {"site-1": gated, "site-2": recorded}
        job.set_per_site_config({name: {"train_args": f"--site {path}"} for name, path in sites.items()})
        for name, path in sites.items():
            guard(job, path, defended=False, clients=[name])
    job.add_server_input_filter(Receiver(str(folder / "received")), ["train"])
    job.execute(SimEnv(clients=["site-1", "site-2"], workspace_root=str(folder / "workspace")))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
