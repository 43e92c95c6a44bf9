import pytest

from leakward.defenses import WithheldLayers
from leakward.defenses.layers import choose
from leakward.errors import DefenseError

NAMES = ("body.0.weight", "body.0.bias", "body.10.weight", "body.1.scale", "head.weight", "head.bias")


@pytest.mark.parametrize(
    ("first", "last", "named", "expected"),
    [
        (1, 0, (), {"body.0.weight", "body.0.bias"}),
        (0, 1, (), {"head.weight", "head.bias"}),
        (0, 2, (), {"body.1.scale", "head.weight", "head.bias"}),
        (1, 1, (), {"body.0.weight", "body.0.bias", "head.weight", "head.bias"}),
        (0, 0, ("body.1",), {"body.1.scale"}),
        (0, 0, ("head.bias",), {"head.bias"}),
        (0, 0, ("body",), {"body.0.weight", "body.0.bias", "body.10.weight", "body.1.scale"}),
        (0, 1, ("body.10",), {"body.10.weight", "head.weight", "head.bias"}),
    ],
)
def test_layers_by_place_and_by_name(first, last, named, expected):
    assert choose(None, NAMES, first, last, named) == expected


@pytest.mark.parametrize(
    ("first", "last", "named", "sentence"),
    [
        (0, 0, ("boddy",), "expected some of the layers body.0, body.10, body.1, head; got boddy"),
        (4, 0, (), "got all 4"),
        (0, 9, (), "got all 4"),
        (0, 0, ("body", "head"), "got all 4"),
    ],
)
def test_what_cannot_be_chosen_is_refused(first, last, named, sentence):
    with pytest.raises(DefenseError, match=f"WithheldLayers: .*{sentence}"):
        choose(WithheldLayers(), NAMES, first, last, named)
