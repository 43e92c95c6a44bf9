"""The filters at a client of FLARE: defended weights leave, or nothing does."""

import re

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

from leakward.errors import DefenseError
from leakward.integrations.nvflare import DefenseFilter, SentModelFilter

CLIPPING = {"name": "clipping", "max_norm": 0.5}
SENT = np.array([1.0, 1.0], dtype=np.float32)
TRAINED = np.array([4.0, 5.0], dtype=np.float32)


def dxo(kind, value, **meta):
    return DXO(kind, {"w": value, "steps": np.array(3)}, meta).to_shareable()


def context(sent=SENT):
    found = FLContext()
    if sent is not None:
        SentModelFilter().process(dxo(DataKind.WEIGHTS, sent), found)
    return found


def left(shareable):
    return from_shareable(shareable).data["w"]


def test_whole_weights_are_defended_by_their_change():
    out = DefenseFilter(CLIPPING).process(dxo(DataKind.WEIGHTS, TRAINED.copy()), context())
    assert isinstance(left(out), np.ndarray)
    np.testing.assert_allclose(left(out), [1.3, 1.4], rtol=1e-6)
    assert int(from_shareable(out).data["steps"]) == 3


def test_a_change_is_defended_as_it_is():
    out = DefenseFilter(CLIPPING).process(dxo(DataKind.WEIGHT_DIFF, TRAINED - SENT, steps=7), context(None))
    np.testing.assert_allclose(left(out), [0.3, 0.4], rtol=1e-6)
    assert from_shareable(out).get_meta_prop("steps") == 7
    assert from_shareable(out).get_filter_history() == ["DefenseFilter"]


def test_tensors_stay_tensors():
    out = DefenseFilter(CLIPPING).process(dxo(DataKind.WEIGHT_DIFF, torch.tensor([3.0, 4.0])), context(None))
    torch.testing.assert_close(left(out), torch.tensor([0.3, 0.4]))


def test_what_the_client_holds_is_left_alone():
    own, context_ = TRAINED.copy(), context()
    DefenseFilter(CLIPPING).process(dxo(DataKind.WEIGHTS, own), context_)
    assert own.tolist() == TRAINED.tolist()
    assert SENT.tolist() == [1.0, 1.0]


def test_what_is_kept_back_comes_in_a_later_round():
    kept = DefenseFilter({"name": "top-k", "keep": 0.5})
    assert left(kept.process(dxo(DataKind.WEIGHTS, TRAINED), context())).tolist() == [1.0, 5.0]
    assert left(kept.process(dxo(DataKind.WEIGHTS, TRAINED), context())).tolist() == [7.0, 1.0]


def require_blocked(caplog, result, found, match):
    """Check that nothing but the site's log has the reason."""
    with pytest.raises(ContentBlockedException) as caught:
        DefenseFilter(CLIPPING).process(result, found)
    assert str(caught.value) == "leakward: the site sends nothing; its log says why"
    assert caught.value.__suppress_context__
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(match, record.getMessage())


def test_whole_weights_without_the_model_that_came_are_blocked(caplog):
    require_blocked(caplog, dxo(DataKind.WEIGHTS, TRAINED), context(None), "add SentModelFilter to task_data_filters")


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (dxo(DataKind.WEIGHTS, np.array([np.nan, 1.0])), "finite"),
        (dxo(DataKind.WEIGHTS, np.ones(3)), "of another shape"),
        (DXO(DataKind.METRICS, {"loss": 1.0}).to_shareable(), "expected weights or their change, got"),
        (DXO(DataKind.COLLECTION, {"a": DXO(DataKind.WEIGHTS, {"w": TRAINED})}).to_shareable(), "expected weights"),
        (Shareable({"w": TRAINED}), "none that FLARE knows"),
        (DXO(DataKind.WEIGHTS, {"w": object()}).to_shareable(), "leakward: (Type|Runtime)Error$"),
    ],
)
def test_what_cannot_be_defended_is_blocked(caplog, result, match):
    require_blocked(caplog, result, context(), match)


def test_word_of_a_failure_passes():
    failed = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    assert DefenseFilter(CLIPPING).process(failed, context()) is failed


def test_a_defence_that_needs_more_than_the_message_is_refused_at_the_start():
    with pytest.raises(DefenseError, match="DPSGD"):
        DefenseFilter({"name": "dp-sgd"})


def test_tasks_without_a_model_pass():
    empty, found = Shareable(), FLContext()
    assert SentModelFilter().process(empty, found) is empty
    assert found.get_prop("leakward.sent_model") is None
