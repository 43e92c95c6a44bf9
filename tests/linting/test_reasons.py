"""What rules say of the engines is what the installed engines do."""

import math
import time

import numpy as np
import pytest
from minimal_apps import LOCAL_DP, PERCENTILE, SVT, flower

from leakward.linting.rules import unsafe_settings as unsafe
from leakward.linting.rules.batch_norm import COUNTS

NUMBERS = {unsafe.NAN: math.nan, unsafe.INFINITE: math.inf, unsafe.ZERO: 0.0, unsafe.NEGATIVE: -1.0, unsafe.ONE: 2.0}
GOOD = {
    "LocalDpMod": {"clipping_norm": 1.0, "sensitivity": 1.0, "epsilon": 1.0, "delta": 1e-5},
    "PercentilePrivacy": {},
    "SVTPrivacy": {},
}


def cases(part):
    return [
        pytest.param(setting.name, kind, said, id=f"{setting.name}-{kind}")
        for setting in unsafe.SETTINGS
        if part in setting.parts
        for kind, said in setting.wrong.items()
        if said != unsafe.ENDLESS and kind != unsafe.ONE
    ]


def message(kind, **arrays):
    from flwr.app import ArrayRecord, ConfigRecord, Message, Metadata, RecordDict

    content = RecordDict({name: ArrayRecord({"w": value}) for name, value in arrays.items()})
    content["config"] = ConfigRecord({"clipping_norm": 1.0})
    return Message(content, metadata=Metadata(1, "", 1, 1, "", "", time.time(), 3600.0, kind))


def record(*values):
    from flwr.app import Array

    return Array(np.array(values))


def train(reply):
    from flwr.app import ArrayRecord, Message, RecordDict

    return lambda given, context: Message(RecordDict({"arrays": ArrayRecord({"w": reply})}), reply_to=given)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "kind", "said"), cases("LocalDpMod"))
def test_settings_of_local_dp(name, kind, said):
    mods = pytest.importorskip("flwr.clientapp.mod")
    settings = GOOD["LocalDpMod"] | {name: NUMBERS[kind]}
    if said == unsafe.REFUSED:
        with pytest.raises(ValueError, match="should be a"):
            mods.LocalDpMod(**settings)
        return
    mod, given = mods.LocalDpMod(**settings), message("train", arrays=record(0.0, 0.0))
    if said == unsafe.FAILS:
        with pytest.raises(ZeroDivisionError):
            mod(given, None, train(record(300.0, 400.0)))
        return
    sent = mod(given, None, train(record(300.0, 400.0))).content.array_records["arrays"]["w"].numpy()
    if said == unsafe.LOST:
        assert not np.isfinite(sent).any()
    elif said == unsafe.NO_NOISE:
        np.testing.assert_allclose(sent, [0.6, 0.8])
    else:
        assert said == unsafe.UNCLIPPED
        np.testing.assert_allclose(sent, [300, 400], atol=50)


@pytest.mark.parametrize(("module", "fails"), [("flwr.clientapp.mod", True), ("flwr.client.mod", False)])
def test_mods_for_all_messages(module, fails):
    from importlib import import_module

    pytest.importorskip("flwr")
    from flwr.app import Message, RecordDict

    mod = import_module(module).LocalDpMod(**GOOD["LocalDpMod"])
    given = message("evaluate", arrays=record(0.0))
    reply = mod(given, None, lambda given, context: Message(RecordDict(), reply_to=given))
    assert reply.has_error() is fails


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("part", ["Fixed", "Adaptive"])
@pytest.mark.parametrize("side", ["Client", "Server"])
def test_settings_of_strategies(side, part):
    strategies = pytest.importorskip("flwr.serverapp.strategy")
    kind = getattr(strategies, f"DifferentialPrivacy{side}Side{part}Clipping")
    names = {"Fixed": "clipping_norm", "Adaptive": "initial_clipping_norm"}
    good = {"noise_multiplier": 0.1, names[part]: 1.0, "num_sampled_clients": 10}
    for case in cases(f"DifferentialPrivacy{side}Side{part}Clipping"):
        name, number, said = case.values
        settings = good | {name: NUMBERS[number]}
        if said == unsafe.REFUSED:
            with pytest.raises(ValueError, match=r"hould|too low"):
                kind(strategies.FedAvg(), **settings)
            continue
        from flwr.app import ArrayRecord

        made = kind(strategies.FedAvg(), **settings)
        sent = made._add_noise_to_aggregated_arrays(ArrayRecord({"w": record(1.0, 2.0)}))["w"].numpy()
        assert (sent.tolist() == [1.0, 2.0]) if said == unsafe.NO_NOISE else not np.isfinite(sent).any(), case.id


def filtered(made, kind="WEIGHTS"):
    """Return what leaves a filter of FLARE."""
    from nvflare.apis.dxo import DXO, from_shareable
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable

    arrays = {"w": np.array([0.5, -0.3, 0.2, 0.1])}
    return from_shareable(made.process(DXO(kind, arrays).update_shareable(Shareable()), FLContext())).data.get("w")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("part", "name", "kind", "said"),
    [
        pytest.param(part, *case.values, id=f"{part}-{case.id}")
        for part in ("PercentilePrivacy", "SVTPrivacy")
        for case in cases(part)
    ],
)
def test_settings_of_flares_filters(part, name, kind, said):
    filters = pytest.importorskip("nvflare.app_common.filters")
    made = getattr(filters, part)(**{name: NUMBERS[kind]})
    if said == unsafe.FAILS:
        with pytest.raises(ValueError, match=r".+"):
            filtered(made)
        return
    sent = filtered(made)
    if said == unsafe.LOST:
        assert not np.isfinite(sent[sent != 0]).any()
    elif said == unsafe.NO_NOISE:
        assert set(np.abs(sent)) == {0, 1e-5}
    else:
        assert sent[:3].tolist() == [0.5, -0.3, 0.2]


SENT = [0.5, -0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("PercentilePrivacy", {"gamma": 0}),
        ("PercentilePrivacy", {"percentile": 101}),
        ("PercentilePrivacy", {"data_kinds": ["WEIGHT_DIFF"]}),
        ("ExcludeVars", {}),
        ("ExcludeVars", {"exclude_vars": []}),
        ("ExcludeVars", {"exclude_vars": [1]}),
        ("convert_weights.ConvertWeights", {"direction": "weights_to_diff"}),
    ],
)
def test_filters_that_do_nothing(name, settings):
    pytest.importorskip("nvflare")
    from nvflare.fuel.utils.class_loader import load_class

    assert filtered(load_class(f"nvflare.app_common.filters.{name}")(**settings)).tolist() == SENT


def test_a_blocker_stops_whole_weights_alone():
    pytest.importorskip("nvflare")
    from nvflare.apis.filter import ContentBlockedException
    from nvflare.app_common.filters.dxo_blocker import DXOBlocker

    made = DXOBlocker(data_kinds=["WEIGHTS"])
    with pytest.raises(ContentBlockedException):
        filtered(made)
    assert filtered(made, "WEIGHT_DIFF").tolist() == SENT


def test_filters_are_looked_up_by_the_name_of_a_task():
    pytest.importorskip("nvflare")
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.utils.task_utils import get_filters
    from nvflare.private.fed_json_config import FedJsonConfigurator, FilterChain

    table = {}
    for tasks in (["*"], ["train"]):
        chain = FilterChain("task_result", "out")
        chain.tasks, chain.filters = tasks, [tasks]
        FedJsonConfigurator._build_filter_table(None, chain, table)
    assert get_filters("task_result_filters", FLContext(), table, "train", "out") == [["train"]]


def test_a_site_skips_a_disabled_filter(tmp_path):
    pytest.importorskip("nvflare")
    import json

    from nvflare.private.fed.app.fl_conf import PrivacyConfiger

    class Workspace:
        def get_site_privacy_file_path(self):
            return str(tmp_path / "privacy.json")

    entries = [{"path": SVT}, {"path": PERCENTILE, "disabled": True}]
    scopes = [{"name": "all", "task_result_filters": entries}]
    (tmp_path / "privacy.json").write_text(json.dumps({"scopes": scopes, "default_scope": "all"}))
    configer = PrivacyConfiger(Workspace(), names_only=False)
    configer.configure()
    [kept] = configer.privacy_manager.get_scope("").task_result_filters["out"]
    assert type(kept).__name__ == "SVTPrivacy"


def test_an_exported_job_and_the_script_that_makes_it_say_the_same(rules, tmp_path, monkeypatch):
    pytest.importorskip("nvflare")
    from minimal_apps import script

    from leakward.linting import lint

    add = 'recipe.add_client_output_filter(PercentilePrivacy(gamma=0), tasks=["train"]); recipe.export("out")'
    text = script(add, ', model={"class_path": "torch.nn.Linear", "args": {"in_features": 2, "out_features": 2}}')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("import nvflare.client as flare\n")
    exec(compile(text["job.py"], "job.py", "exec"), {"__name__": "job"})
    exported = {(each.level, each.rule, each.found) for each in lint(tmp_path / "out" / "x")}
    assert exported == {(each.level, each.rule, each.found) for group in rules(text).values() for each in group}
    assert {rule for _, rule, _ in exported} == {
        "filter-on-whole-weights", "filter-does-nothing", "filters-are-opt-in",
    }  # fmt: skip


@pytest.mark.slow
def test_step_counters_of_known_networks():
    from monai.networks import nets

    for name, count in COUNTS.items():
        network = getattr(nets, name)(*((2, 3, 2) if name.startswith("dense") else ()))
        assert sum(key.endswith("num_batches_tracked") for key in network.state_dict()) == count


def test_the_client_of_the_minimal_app_is_one_of_flower():
    pytest.importorskip("flwr")
    text = flower("", LOCAL_DP)["client_app.py"].replace("from task import Net", "Net = None")
    found = {}
    exec(compile(text, "client_app.py", "exec"), found)
    assert type(found["app"]).__name__ == "ClientApp"
