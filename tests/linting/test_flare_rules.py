"""Every trap of FLARE is found in a job or a site that has it, and not in the same one with the cure."""

import pytest
from minimal_apps import (
    BLOCKER,
    BLOCKS_WHOLE,
    CONVERT,
    EXCLUDE,
    PERCENTILE,
    SVT,
    entry,
    job,
    script,
    site,
)  # fmt: skip

LOOP = """
import nvflare.client as flare
from opacus import PrivacyEngine

flare.init()
{before}
while flare.is_running():
    model = flare.receive()
    {inside}
    flare.send(model)
"""
MADE = "engine = PrivacyEngine()"
OWN = """
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.filter import ContentBlockedException, Filter

class Clip(DXOFilter):
    def process_dxo(self, dxo, shareable, fl_ctx):
        {steps}
"""
LOST = "raise ContentBlockedException('no')"


PASSES = "return dxo if dxo.data else None"


def own(steps, method=None):
    text = OWN.format(steps=steps)
    return {"clip": text if method is None else text.replace("DXOFilter)", "Filter)").replace("process_dxo", method)}


def loop(before="", inside="pass"):
    return {"train": LOOP.format(before=before, inside=inside)}


RELEASED = {"epsilon_release": 1.0}
CHANGES = {"data_kinds": ["WEIGHT_DIFF"]}
PAIRS = {
    "filter-on-whole-weights": [
        (job(entry(PERCENTILE)), job(entry(PERCENTILE), transfer="DIFF")),
        (job(entry(SVT, **RELEASED), transfer="FULL"), job(entry(SVT, **RELEASED), transfer="DIFF")),
        (job(entry(PERCENTILE)), job(entry(PERCENTILE), BLOCKS_WHOLE)),
        (job(entry(PERCENTILE)),
         job(entry(PERCENTILE), custom={"train": "from nvflare.client import ParamsType\nkind = ParamsType.DIFF"})),
        (
            script('recipe.add_client_output_filter(PercentilePrivacy(), tasks=["train"])'),
            script('recipe.add_client_output_filter(PercentilePrivacy(), tasks=["train"])',
                   ", params_transfer_type=TransferType.DIFF"),
        ),
        (site(entry(PERCENTILE)), site(BLOCKS_WHOLE, entry(PERCENTILE, **CHANGES))),
    ],
    "svt-release-budget": [
        (job(entry(SVT), transfer="DIFF"), job(entry(SVT, **RELEASED), transfer="DIFF")),
        (script("job.to_clients(SVTPrivacy(), filter_type=FilterType.TASK_RESULT, tasks=['train'])"),
         script("job.to_clients(SVTPrivacy(epsilon_release=1), filter_type=FilterType.TASK_RESULT, tasks=['train'])")),
    ],
    "filter-does-nothing": [
        (job(entry(PERCENTILE, gamma=0), transfer="DIFF"), job(entry(PERCENTILE, gamma=1), transfer="DIFF")),
        (job(entry(PERCENTILE, percentile=101), transfer="DIFF"), job(entry(PERCENTILE), transfer="DIFF")),
        (job(entry(EXCLUDE)), job(entry(EXCLUDE, exclude_vars="head"))),
        (job(entry(EXCLUDE, exclude_vars=[])), job(entry(EXCLUDE, exclude_vars=["head.weight"]))),
        (job(entry(CONVERT, direction="weights_to_diff")), job(transfer="DIFF")),
        (job(entry(PERCENTILE, **CHANGES)), job(entry(PERCENTILE, **CHANGES), transfer="DIFF")),
        (site(entry(PERCENTILE, **CHANGES)),
         site(entry(PERCENTILE, **CHANGES), entry(BLOCKER, data_kinds=["WEIGHT_DIFF"], allow_data_kinds=True))),
        (site({**entry(EXCLUDE, exclude_vars="a"), "disabled": True}), site(entry(EXCLUDE, exclude_vars="a"))),
    ],
    "filter-fails-open": [
        (job(custom=own("if dxo.data:\n            return dxo")),
         job(custom=own(f"if dxo.data:\n            return dxo\n        {LOST}"))),
        (job(custom=own("return dxo if dxo.data else None")), job(custom=own("return dxo"))),
        (job(custom=own("try:\n            return dxo\n        except ValueError:\n            print()")),
         job(custom=own(f"try:\n            return dxo\n        except ValueError:\n            {LOST}"))),
        (job(custom=own("try:\n            return clip(dxo)\n        except ValueError:\n            return dxo")),
         job(custom=own("while True:\n            return clip(dxo)"))),
        (job(custom=own("try:\n            return f(shareable)\n        except ValueError:\n            return dxo",
                        "process")),
         job(custom=own("pass", "process"))),
        (site() | {"local/custom/clip.py": own(PASSES)["clip"]},
         site() | {"local/custom/clip.py": own("return dxo")["clip"]}),
    ],
    "filter-never-runs": [
        (job(entry(EXCLUDE, exclude_vars="a"), tasks=["*"]), job(entry(EXCLUDE, exclude_vars="a"))),
        (job(entry(EXCLUDE, exclude_vars="a"), tasks=["Train"], executed=["train"]),
         job(entry(EXCLUDE, exclude_vars="a"), tasks=["train", "submit"], executed=["train"])),
        (script("job.to(ExcludeVars('a'), 'site-1', filter_type=FilterType.TASK_RESULT)"),
         script("job.to(ExcludeVars('a'), 'site-1', filter_type=FilterType.TASK_RESULT, tasks=['train'])")),
    ],
    "epsilon-per-round": [
        (job(custom=loop(inside=MADE)), job(custom=loop(before=MADE))),
        (job(custom=loop(before=f"def fit():\n    {MADE}\n", inside="fit()")),
         job(custom=loop(before="engine = None", inside=f"if engine is None: {MADE}"))),
        (job(custom={"run": "from nvflare.apis.executor import Executor\nfrom opacus import PrivacyEngine\n"
                            f"class Own(Executor):\n    def execute(self, *given):\n        {MADE}"}),
         job(custom={"run": "from nvflare.apis.executor import Executor\nfrom opacus import PrivacyEngine\n"
                            f"class Own(Executor):\n    def __init__(self):\n        self.{MADE}"})),
    ],
    "seeded-noise": [
        (job(entry(SVT), custom={"train": "import numpy\nnumpy.random.seed(0)"}),
         job(entry(SVT), custom={"train": "import torch\ntorch.manual_seed(0)"})),
    ],
    "unsafe-setting": [
        (job(entry(PERCENTILE, gamma=float("nan"))), job(entry(PERCENTILE, gamma=0.01))),
        (job(entry(SVT, epsilon_release=float("inf"))), job(entry(SVT, epsilon_release=0.1))),
        (site(entry(SVT, noise_var=float("inf"))), site(entry(SVT))),
        (script("recipe.add_client_output_filter(SVTPrivacy(gamma=0), tasks=['train'])"),
         script("recipe.add_client_output_filter(SVTPrivacy(gamma=1e-3), tasks=['train'])")),
    ],
    "site-filters-nothing": [
        ({"local/resources.json.default": {}}, site(entry(EXCLUDE, exclude_vars="a"))),
        (site(), site(entry(EXCLUDE, exclude_vars="a"), default=None)),
        (site(entry(EXCLUDE, exclude_vars="a"), other=[]),
         site(entry(EXCLUDE, exclude_vars="a"), other=[entry(EXCLUDE, exclude_vars="b")])),
        ({"local/privacy.json": {"scopes": []}}, site(entry(EXCLUDE, exclude_vars="a"))),
        (site({**entry(EXCLUDE, exclude_vars="a"), "disabled": True}), site(entry(EXCLUDE, exclude_vars="a"))),
    ],
}  # fmt: skip
CASES = [pytest.param(rule, *pair, id=f"{rule}-{n}") for rule, pairs in PAIRS.items() for n, pair in enumerate(pairs)]


@pytest.mark.parametrize(("rule", "trap", "cure"), CASES)
def test_the_trap_is_found_and_the_cure_is_not(rules, rule, trap, cure):
    found, cured = rules(trap), rules(cure)
    assert rule in found
    assert rule not in cured
    assert {each.level for each in found[rule]} == {"problem"}


def test_filters_of_a_job_are_a_choice_of_the_job(rules):
    found = rules(job(entry(EXCLUDE, exclude_vars="a"), entry(EXCLUDE, exclude_vars="b")))
    assert found.keys() == {"filters-are-opt-in"}
    assert [each.level for each in found["filters-are-opt-in"]] == ["remark"]
    assert "filters-are-opt-in" not in rules(job())
    assert "filters-are-opt-in" not in rules(site(entry(EXCLUDE, exclude_vars="a")))


def test_every_filter_has_its_own_line(rules):
    import json

    files = job(entry(EXCLUDE, exclude_vars="a"), entry(PERCENTILE), entry(PERCENTILE, gamma=0))
    path = "app/config/config_fed_client.json"
    lines = json.dumps(files[path], indent=2).splitlines()
    expected = [count for count, line in enumerate(lines, 1) if PERCENTILE in line]
    found = rules(files)
    assert [each.line for each in found["filter-on-whole-weights"]] == expected
    assert [(str(each.path), each.line) for each in found["filter-does-nothing"]] == [(path, expected[1])]


def test_the_budget_of_a_million_weights_is_told(rules):
    [found] = rules(job(entry(SVT, noise_var=0.2), transfer="DIFF"))["svt-release-budget"]
    assert found.found.endswith("a million weights spend 20000 in each round")


def test_what_an_unknown_client_sends_is_a_remark(rules):
    files = job(entry(PERCENTILE))
    files["app/config/config_fed_client.json"]["executors"][0]["executor"]["path"] = "trainer.Own"
    assert [each.level for each in rules(files)["filter-on-whole-weights"]] == ["remark"]


@pytest.mark.parametrize("name", ["PercentilePrivacy", "other.PercentilePrivacy"])
def test_a_name_alone_is_one_of_flare_and_a_path_elsewhere_is_not(rules, name):
    assert ("filter-on-whole-weights" in rules(job(entry(name)))) == ("." not in name)


@pytest.mark.parametrize(("package", "whole"), [("pt", False), ("tf", True)])
def test_what_recipes_send_unless_told_otherwise(rules, package, whole):
    text = script("recipe.add_client_output_filter(PercentilePrivacy(), tasks=['train'])")["job.py"]
    other = f"{package}.recipes.fedopt import FedOptRecipe as FedAvgRecipe"
    found = rules({"job.py": text.replace("pt.recipes.fedavg import FedAvgRecipe", other)})
    assert ("filter-on-whole-weights" in found) is whole


@pytest.mark.parametrize("steps", ["if not fl_ctx:\n            raise ValueError", "dxo.data.clear()\n        return"])
def test_filters_that_check_or_work_in_place_return_nothing(rules, steps):
    assert "filter-fails-open" not in rules(job(custom=own(steps)))


def test_a_filter_of_what_comes_in_may_let_it_pass(rules):
    files = job(custom=own(PASSES))
    client = files["app/config/config_fed_client.json"]
    client["task_data_filters"] = [{"tasks": ["train"], "filters": [entry("clip.Clip")]}]
    assert "filter-fails-open" not in rules(files)
    client["task_result_filters"] = client["task_data_filters"]
    assert "filter-fails-open" in rules(files)


def test_filters_at_the_server_and_of_what_comes_in_are_not_of_results(rules):
    adds = [
        "recipe.add_server_input_filter(PercentilePrivacy(), tasks=['train'])",
        "recipe.add_client_input_filter(PercentilePrivacy(), tasks=['train'])",
        "job.to(PercentilePrivacy(), 'server', filter_type=FilterType.TASK_RESULT, tasks=['train'])",
    ]
    assert all(rules(script(add)) == {} for add in adds)


def test_a_filter_made_before_it_is_added_is_followed(rules):
    add = "kept = PercentilePrivacy(gamma=LIMIT)\n    recipe.add_client_output_filter(kept, tasks=['train'])"
    found = rules({"job.py": script(add)["job.py"] + "\nLIMIT = -1\n"})
    assert found["filter-does-nothing"][0].found == "PercentilePrivacy has gamma = -1"


def test_a_server_is_no_site(rules):
    from leakward.errors import LeakwardError

    with pytest.raises(LeakwardError, match="workspace of a FLARE client"):
        rules(site() | {"startup/fed_server.json": {}})


def test_the_local_folder_is_a_site_too(rules):
    assert "site-filters-nothing" in rules({"privacy.json": {"scopes": [{"name": "all"}]}})


def test_hocon_and_yaml_are_read_as_flare_reads_them(rules):
    pytest.importorskip("pyhocon")
    yaml = pytest.importorskip("yaml")
    path = "app/config/config_fed_client"
    client = job(entry(PERCENTILE))[f"{path}.json"]
    hocon = (
        f'task_result_filters = [{{tasks = ["train"], filters = [\n{{path = "{PERCENTILE}", args {{gamma = 0}}}}]}}]'
    )
    for suffix, text, line in ((".yml", yaml.safe_dump(client), None), (".conf", hocon, 2)):
        found = rules({f"{path}{suffix}": text})
        assert {"filter-on-whole-weights", "filters-are-opt-in"} <= found.keys()
        assert line is None or found["filter-does-nothing"][0].line == line
    both = rules({f"{path}.json": job()[f"{path}.json"], f"{path}.yml": yaml.safe_dump(client)})
    assert both == {}
