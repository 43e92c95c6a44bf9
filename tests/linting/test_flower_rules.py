"""Every trap of Flower is found in an app that has it, and not in the same app with the cure."""

import pytest
from minimal_apps import LOCAL_DP, NORM, flower

FIXED = "mods=[fixedclipping_mod]"
SECAGG = "from flwr.client.mod import secaggplus_mod\nfrom leakward.integrations.flower import defense_mod, site_mod"
SERVER = """
from flwr.serverapp import RdpAccountant, ServerApp
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping, DifferentialPrivacyServerSideFixedClipping, FedAvg
)
app = ServerApp()

@app.main()
def main(grid, context):
    strategy = {strategy}
"""
CENTRAL = "DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, 2)"
NAMED = "dp = LocalDpMod(delta=1e-5, epsilon=1, sensitivity={}, clipping_norm=N)"
ENGINE = "from opacus import PrivacyEngine"
MADE = "model, optimizer, data = PrivacyEngine().make_private(module=model, noise_multiplier=1.0)"
LOADED = "engine = PrivacyEngine(); engine.accountant.load_state_dict(dict(context.state)); "


def server(strategy):
    return SERVER.format(strategy=strategy)


PAIRS = {
    "step-counters-in-norm": [
        (flower("", LOCAL_DP, norm=NORM), flower("", LOCAL_DP)),
        (flower("", FIXED, norm=NORM), flower("", FIXED, norm="nn.BatchNorm2d(8, track_running_stats=False)")),
        (
            flower("", FIXED, norm="torchvision.models.resnet18()"),
            flower("", FIXED, norm="torchvision.models.resnet18(norm_layer=nn.InstanceNorm2d)"),
        ),
        (
            flower("", norm=NORM, server_app=server(CENTRAL)),
            flower(norm=NORM, server_app=server("FedAvg()")),
        ),
        (
            flower("", FIXED, norm=NORM),
            flower("", FIXED, norm=NORM, steps="model = ModuleValidator.fix(model)",
                   extra="from opacus.validators import ModuleValidator"),
        ),
    ],
    "sensitivity-below-norm": [
        (flower("", "mods=[LocalDpMod(1.0, 1e-4, 1.0, 1e-5)]"), flower("", LOCAL_DP)),
        (
            flower("", "mods=[dp]", extra="N = 2\n" + NAMED.format(1)),
            flower("", "mods=[dp]", extra="N = 2\n" + NAMED.format("N")),
        ),
    ],
    "epsilon-beyond-formula": [
        (
            flower("", "mods=[LocalDpMod(1.0, 1.0, 10.0, 1e-5)]"),
            flower("", "mods=[LocalDpMod(1.0, 1.0, 2.0, 1e-5)]"),  # beyond 1, but its noise is enough
        ),
        (flower("", "mods=[LocalDpMod(1.0, 1.0, epsilon=1e4, delta=0.5)]"), flower("", LOCAL_DP)),
    ],
    "mod-order": [
        (
            flower("", "mods=[defense_mod, secaggplus_mod]", extra=SECAGG),
            flower("", "mods=[secaggplus_mod, defense_mod]", extra=SECAGG),
        ),
        (
            flower("", "mods=[secaggplus_mod, LocalDpMod(1, 1, 1, 1e-5), site_mod]", extra=SECAGG),
            flower("", "mods=[secaggplus_mod, site_mod, LocalDpMod(1, 1, 1, 1e-5)]", extra=SECAGG),
        ),
        (
            flower("mods=[defense_mod]", "mods=[secaggplus_mod]", extra=SECAGG),
            flower("mods=[secaggplus_mod]", "mods=[defense_mod]", extra=SECAGG),
        ),
    ],
    "mod-for-all-messages": [
        (flower(LOCAL_DP), flower("", LOCAL_DP)),
        (flower("client_fn, [fixedclipping_mod]"), flower("client_fn", extra="from flwr.client.mod import LocalDpMod")),
    ],
    "nobody-clips": [
        (
            flower(server_app=server(CENTRAL.replace("Server", "Client"))),
            flower("", FIXED, server_app=server(CENTRAL.replace("Server", "Client"))),
        ),
    ],
    "epsilon-per-round": [
        (
            flower(extra=ENGINE, steps=MADE),
            flower(extra=ENGINE, steps=LOADED + MADE.replace("PrivacyEngine()", "engine")),
        ),
        (
            flower(extra=ENGINE, steps="engine = PrivacyEngine()"),
            flower(extra=ENGINE, steps="engine = PrivacyEngine(); engine.accountant.history = list(context.state)"),
        ),
        (
            flower(extra=ENGINE, steps="engine = PrivacyEngine(); fit(model, engine)"),
            flower(extra=f"{ENGINE}\nfrom leakward.live import counted",
                   steps="engine = PrivacyEngine(); block = counted(site, engine); fit(model, engine)"),
        ),
        (
            flower(steps="fit(model)", extra="from training import fit",
                   training=f"{ENGINE}\ndef fit(model):\n    {MADE}"),
            flower(extra="from training import fit", training=f"{ENGINE}\ndef fit(model):\n    {MADE}"),
        ),
        (flower("", LOCAL_DP), flower()),
        (
            flower(server_app=server(CENTRAL)),
            flower(server_app=server(CENTRAL.replace("2)", "2, accountant=RdpAccountant(config))"))),
        ),
    ],
    "seeded-noise": [
        (
            flower("", LOCAL_DP, extra="import numpy as np\nnp.random.seed(42)"),
            flower("", LOCAL_DP, extra="import numpy as np\nrng = np.random.default_rng(42)"),
        ),
        (
            flower(extra=f"{ENGINE}\nimport torch", steps=f"torch.manual_seed(0); {MADE}"),
            flower(extra=f"{ENGINE}\nimport torch",
                   steps=f"torch.manual_seed(0); {MADE.replace('()', '(secure_mode=True)', 1)}"),
        ),
    ],
    "unsafe-setting": [
        (flower("", "mods=[LocalDpMod(1.0, 1.0, 0, 1e-5)]"), flower("", LOCAL_DP)),
        (flower("", 'mods=[LocalDpMod(float("inf"), 1.0, 1.0, 1e-5)]'), flower("", LOCAL_DP)),
        (flower("", "mods=[LocalDpMod(1.0, 1.0, math.nan, 1e-5)]", extra="import math"), flower("", LOCAL_DP)),
        (
            flower(extra=ENGINE, steps=MADE.replace("1.0", "0.0")),
            flower(extra=ENGINE, steps=MADE),
        ),
    ],
    "mods-are-opt-in": [(flower("", LOCAL_DP), flower())],
}  # fmt: skip
CASES = [pytest.param(rule, *pair, id=f"{rule}-{n}") for rule, pairs in PAIRS.items() for n, pair in enumerate(pairs)]
REMARKS = {"epsilon-per-round-4", "epsilon-per-round-5", "mods-are-opt-in-0"}


@pytest.mark.parametrize(("rule", "trap", "cure"), CASES)
def test_the_trap_is_found_and_the_cure_is_not(rules, rule, trap, cure, request):
    found, cured = rules(trap), rules(cure)
    assert rule in found
    assert rule not in cured
    expected = "remark" if request.node.callspec.id in REMARKS else "problem"
    assert {each.level for each in found[rule]} == {expected}


def line(files, name, text):
    return next(count for count, each in enumerate(files[name].splitlines(), 1) if text in each)


def test_a_finding_says_where_and_with_which_numbers(rules):
    app = flower("", "mods=[LocalDpMod(1.0, 1e-5, 1.0, 1e-5)]", norm=NORM)
    found = rules(app)
    [noise] = found["sensitivity-below-norm"]
    assert (str(noise.path), noise.line) == ("client_app.py", line(app, "client_app.py", "LocalDpMod(1.0"))
    assert noise.found.endswith("the noise has deviation 4.8e-05 and would have 4.8")
    [counters] = found["step-counters-in-norm"]
    assert (
        counters.found == f"LocalDpMod clips a model with BatchNorm2d in line {line(app, 'task.py', 'Norm')} of task.py"
    )
    assert found["epsilon-per-round"][0].found.endswith("1, and up to 20 after 20 rounds")


def test_known_networks_are_counted(rules):
    for package, call in (("torchvision.models", "resnet18(weights=None)"), ("monai.networks.nets", "resnet18()")):
        extra = f"from {package} import resnet18\nnet = {call}"
        [found] = rules(flower("", FIXED, extra=extra))["step-counters-in-norm"]
        assert "20 step counters" in found.found
    extra = 'from monai.networks.nets import UNet, resnet18\nnet = resnet18(norm="group"), UNet(2, 1, 1)'
    assert "step-counters-in-norm" not in rules(flower("", FIXED, extra=extra))
    extra = "from monai.networks.layers import Norm\nfrom monai.networks.nets import UNet\nnet = UNet(norm=Norm.BATCH)"
    assert "step-counters-in-norm" in rules(flower("", FIXED, extra=extra))


@pytest.mark.parametrize(
    "state", ["strip(model.state_dict())", "{k: v for k, v in model.state_dict().items() if k in KEPT}"]
)
def test_counters_that_may_be_left_out_are_a_remark(rules, state):
    extra = 'def strip(state):\n    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}'
    app = flower("", FIXED, norm=NORM, extra=extra if "strip" in state else "", state=state)
    assert [each.level for each in rules(app)["step-counters-in-norm"]] == ["remark"]


def test_a_model_that_cannot_be_seen_is_a_remark(rules):
    app = flower("", FIXED) | {"task.py": "import timm\nNet = lambda: timm.create_model('resnet18')"}
    [found] = rules(app)["step-counters-in-norm"]
    assert found.level == "remark"
    assert "cannot be seen" in found.found


def test_older_mods_look_at_the_kind_of_a_message(rules):
    app = flower(LOCAL_DP)
    app["client_app.py"] = app["client_app.py"].replace("flwr.clientapp.mod", "flwr.client.mod")
    found = rules(app)
    assert "mod-for-all-messages" not in found
    assert "epsilon-per-round" in found


def test_the_older_form_of_an_app_is_read_too(rules):
    client = f"""
import flwr as fl
{ENGINE}

class Client(fl.client.NumPyClient):
    def fit(self, parameters, config):
        self.engine = PrivacyEngine()

app = fl.client.ClientApp(client_fn=lambda context: Client(), mods=[fl.clientapp.mod.fixedclipping_mod])
"""
    found = rules({"client_app.py": client})
    assert {"epsilon-per-round", "mod-for-all-messages"} <= found.keys()


def test_what_cannot_be_read_is_not_guessed(rules):
    extra = "from settings import make, NORM, mods\nsensitivity = 1e-5\nsensitivity = make()"
    app = flower("mods=mods()", "mods=[LocalDpMod(NORM, sensitivity, **make())]", extra=extra)
    assert rules(app).keys() == {"epsilon-per-round"}


def test_settings_of_the_app_are_numbers_too(rules):
    app = flower() | {
        "pyproject.toml": flower()["pyproject.toml"] + "target-epsilon = nan\nclipping-norm = 0.0\nlr = 0.0\n"
    }
    found = rules(app)["unsafe-setting"]
    assert [(each.level, each.found) for each in found] == [
        ("problem", "target-epsilon = nan"), ("remark", "clipping-norm = 0"),
    ]  # fmt: skip
    assert found[0].line == line(app, "pyproject.toml", "target-epsilon")


def test_a_seed_that_may_be_of_no_client_is_a_remark(rules):
    files = {"plots": "import numpy as np\ndef draw():\n    np.random.seed(1)", "server_app": server("FedAvg()")}
    files["server_app"] += "\nimport numpy as np\nnp.random.seed(1)"
    [found] = rules(flower("", LOCAL_DP, **files))["seeded-noise"]
    assert (found.level, str(found.path)) == ("remark", "plots.py")
