"""Provision FLARE with one site that has a policy of its own, give it jobs, and print what became of them: FOLDER."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.fuel.flare_api.flare_api import new_secure_session

EXAMPLE = Path(__file__).parents[2] / "examples" / "nvflare"
sys.path.append(str(EXAMPLE))
FILTERS = "leakward.integrations.nvflare."
EXECUTOR = "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor"
PERSISTOR = "nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor"
ADMIN = "admin@nvidia.com"


def main(folder: Path) -> None:
    site, found = folder / "site.toml", {}
    text = (EXAMPLE / "site.toml").read_text(encoding="utf-8")
    site.write_text(text[: text.index("[gate]")], encoding="utf-8")
    poc("prepare", "-n", "1", "--force")
    [kits] = (folder / "poc").glob("*/prod_00")
    write_policy(kits, site)
    jobs = write_jobs(folder, site)
    poc("start")
    try:
        for name in ("plain", "own-code", "with-filter"):
            found[name] = outcome(kits, jobs / name)
        allow(kits / "site-1", EXECUTOR, FILTERS)
        found["with-filter, allowed"] = outcome(kits, jobs / "with-filter")
    finally:
        poc("stop")
    print(json.dumps(found))


def write_policy(kits: Path, site: Path) -> None:
    local, of_site = kits / "site-1" / "local", {"site": str(site)}
    scope = {
        "name": "site",
        "task_data_filters": [entry("SentModelFilter"), entry("ModelCheckFilter", **of_site)],
        "task_result_filters": [
            entry("DefenseFilter", defense={"name": "clipping", "max_norm": 1e-3}),
            entry("SiteFilter", **of_site),
        ],
    }
    write(local / "privacy.json", {"scopes": [scope], "default_scope": "site"})
    rights = json.loads((local / "authorization.json.default").read_text(encoding="utf-8"))
    of_all = dict.fromkeys(rights["permissions"]["lead"], "any")
    rights["permissions"]["project_admin"] = of_all | {"byoc": "none"}
    write(local / "authorization.json", rights)
    allow(kits / "site-1", EXECUTOR)
    allow(kits / "server", PERSISTOR, "leakward.models.")


def write_jobs(folder: Path, site: Path) -> Path:
    """Return a folder with the same job thrice: nothing but settings, with code of its own, with a filter of ours."""
    from job import network
    from leakward.live import read_site

    jobs = folder / "jobs"
    script = str(EXAMPLE / "client.py")  # as a site that forbids code of jobs has to have it
    recipe = FedAvgRecipe(
        name="plain",
        model=network(read_site(site)),
        min_clients=1,
        num_rounds=2,
        train_script=script,
        train_args=f"--site {site}",
    )
    recipe.export(str(jobs))
    shutil.copytree(jobs / "plain", jobs / "own-code")
    shutil.rmtree(jobs / "plain" / "app" / "custom")
    shutil.copytree(jobs / "plain", jobs / "with-filter")
    config = jobs / "with-filter" / "app" / "config" / "config_fed_client.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    filters = [entry("DefenseFilter", defense={"name": "sign"})]
    write(config, settings | {"task_result_filters": [{"tasks": ["train"], "filters": filters}]})
    return jobs


def outcome(kits: Path, job: Path) -> str:
    session = new_secure_session(ADMIN, str(kits / ADMIN))
    try:
        _, meta = session.monitor_job_and_return_job_meta(session.submit_job(str(job)), poll_interval=0.5)
    finally:
        session.close()
    return f"{meta['status']} {meta['job_deploy_detail']}"


def allow(kit: Path, *names: str) -> None:
    default = json.loads((kit / "local" / "resources.json.default").read_text(encoding="utf-8"))
    write(kit / "local" / "resources.json", default | {"class_allow_list": [*default["class_allow_list"], *names]})


def entry(name: str, **settings: object) -> dict[str, object]:
    return {"path": FILTERS + name, "args": settings}


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def poc(*words: str) -> None:
    command = [Path(sys.executable).with_name("nvflare"), "poc", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]))
