"""What a trained network reads from images, and the measures that need it."""

import pandas as pd
import pytest
import tiny_site
import torch

from leakward.auditing import audit, make_plan
from leakward.auditing.reader import Reader, open_reader
from leakward.auditing.site import open_site
from leakward.errors import PlanError
from leakward.metrics import METRICS
from leakward.report import build_report

NETWORK = {"model": {"name": "lenet", "channels": 2}, "data": {"clients": 2, "shares": [32, 12]}}
ONE = [{"name": "inverting-gradients", "iterations": 2}]


@pytest.fixture(scope="module")
def reader(data):
    made = tiny_site.plan(data, audit={"victims": 2, "measures": ["k_iip"]}) | {"model": NETWORK["model"]}
    plan = make_plan(made | {"data": {"name": str(data), **NETWORK["data"]}})
    site = open_site(plan, torch.device("cpu"))
    return open_reader(plan, site, site.initial_state(0)), site


def test_features_are_what_the_last_layer_sees(reader):
    found, site = reader
    images, _ = site.data.subset("val")
    weight, bias = (found.state[name] for name in site.task.classifier)
    logits = found.features(images) @ weight.T + bias
    torch.testing.assert_close(logits, site.task.forward(found.state, images)[0])
    assert torch.equal(logits.argmax(1), found.classes(images))


def test_known_images_are_those_of_all_clients_and_public_ones(reader):
    found, site = reader
    assert len(found.known.features) == 32 + 12 + tiny_site.SIZES["val"]
    assert int(found.known.own.sum()) == 32
    own = found.features(site.data.subset("train")[0])
    torch.testing.assert_close(found.known.features[found.known.own], own)


def test_the_region_is_nearly_a_third_of_every_image(reader):
    found, site = reader
    images, labels = site.data.subset("val")
    assert (found.region(images, labels).sum((1, 2)) == int(0.3 * 144)).all()


def test_an_audit_takes_the_measures_that_it_is_asked_for(data, tmp_path):
    own = {"rdlv", "k_iip_1", "k_iip_3", "k_iip_5", "ssim_inside", "ssim_outside", "mse_inside", "mse_outside"}
    tables = tiny_site.plan(data, attack=ONE, defense=[], audit={"measures": ["rdlv", "k_iip", "region"]})
    run = audit(tables | {"model": NETWORK["model"]}, tmp_path / "more")
    scores = pd.read_parquet(run / "scores.parquet")
    assert own <= {*scores["metric"]}
    assert (scores[scores["metric"].isin(own)].groupby("metric")["victim"].nunique() == 4).all()
    assert all(METRICS[name].title in build_report(run).read_text() for name in own)
    run = audit(tables | {"model": NETWORK["model"], "audit": {"victims": 4}}, tmp_path / "fewer")
    assert not own & {*pd.read_parquet(run / "scores.parquet")["metric"]}


WRONG = [(["k_iip"], 0, "they need a trained network"), (["rdlv", "rdlv"], 1, "all different"), (["iip"], 1, "'lpips'")]


@pytest.mark.parametrize(("measures", "epochs", "words"), WRONG)
def test_measures_that_cannot_be_taken_are_refused(data, measures, epochs, words):
    with pytest.raises(PlanError, match=words):
        make_plan(tiny_site.plan(data, audit={"measures": measures}, utility={"epochs": epochs}))


def test_a_reader_without_known_images_needs_none(data):
    plan = make_plan(tiny_site.plan(data))
    site = open_site(plan, torch.device("cpu"))
    assert isinstance(open_reader(plan, site, site.initial_state(0)), Reader)
    assert open_reader(plan, site, site.initial_state(0)).known is None
