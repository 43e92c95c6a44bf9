"""Minimal Flower apps and FLARE jobs, and the pieces that make traps of them."""

import json
from pathlib import Path

Files = dict[str, object]
"""Content by path; what is no text is written as JSON."""

PROJECT = """
[tool.flwr.app]
publisher = "site"

[tool.flwr.app.components]
clientapp = "client_app:app"

[tool.flwr.app.config]
num-server-rounds = 20
"""
NORM = "nn.BatchNorm2d(8)"
TASK = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = {norm}
"""
CLIENT = """
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod
from task import Net
{extra}
app = ClientApp({app})

@app.train({train})
def train(message, context):
    model = Net()
    {steps}
    return Message(RecordDict({{"arrays": ArrayRecord({state})}}), reply_to=message)

@app.evaluate()
def evaluate(message, context):
    return Message(RecordDict(), reply_to=message)
"""
LOCAL_DP = "mods=[LocalDpMod(1.0, 1.0, 1.0, 1e-5)]"


def flower(app="", train="", *, norm="nn.GroupNorm(2, 8)", extra="", steps="pass", state="model.state_dict()", **files):
    """A Flower app; ``files`` adds to it or replaces."""
    client = CLIENT.format(app=app, train=train, extra=extra, steps=steps, state=state)
    own = {"pyproject.toml": PROJECT, "client_app.py": client, "task.py": TASK.format(norm=norm)}
    return own | {f"{name}.py": text for name, text in files.items()}


PERCENTILE = "nvflare.app_common.filters.PercentilePrivacy"
SVT = "nvflare.app_common.filters.SVTPrivacy"
EXCLUDE = "nvflare.app_common.filters.ExcludeVars"
CONVERT = "nvflare.app_common.filters.convert_weights.ConvertWeights"
BLOCKER = "nvflare.app_common.filters.dxo_blocker.DXOBlocker"
EXECUTOR = "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor"


def entry(path, **args):
    return {"path": path, "args": args}


BLOCKS_WHOLE = entry(BLOCKER, data_kinds=["WEIGHTS"])


def job(*filters, tasks=("train",), executed=("*",), transfer=None, custom=None):
    """An exported FLARE job."""
    args = {} if transfer is None else {"params_transfer_type": transfer}
    client = {
        "format_version": 2,
        "executors": [{"tasks": [*executed], "executor": entry(EXECUTOR, task_script_path="train.py", **args)}],
        "components": [],
        "task_data_filters": [],
        "task_result_filters": [{"tasks": [*tasks], "filters": [*filters]}] if filters else [],
    }
    own = {"meta.json": {"name": "x", "deploy_map": {"app": ["@ALL"]}}, "app/config/config_fed_client.json": client}
    return own | {f"app/custom/{name}.py": text for name, text in (custom or {}).items()}


SCRIPT = """
from nvflare.app_common.filters import ExcludeVars, PercentilePrivacy, SVTPrivacy
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.client.config import TransferType
from nvflare.job_config.defs import FilterType

def main():
    recipe = FedAvgRecipe(name="x", min_clients=2, num_rounds=2, train_script="train.py"{recipe})
    {add}

main()
"""


def script(add, recipe=""):
    """A script that makes a FLARE job by a recipe."""
    return {"job.py": SCRIPT.format(add=add, recipe=recipe)}


def site(*filters, default="all", **scopes):
    """The workspace of a FLARE client, with one scope of ``filters`` and others."""
    found = [{"name": name, "task_result_filters": [*own]} for name, own in {"all": filters, **scopes}.items()]
    privacy = {"scopes": found} | ({} if default is None else {"default_scope": default})
    return {"local/privacy.json": privacy, "local/resources.json.default": {}}


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content, indent=2)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
