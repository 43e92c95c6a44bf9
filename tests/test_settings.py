"""Tables of a plan become dataclasses, or every problem is named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest
import torch
from torch import Tensor

from leakward.errors import PlanError
from leakward.settings import allowed_keys, parse, plain_fields, tensor_fields


@dataclass(frozen=True)
class Example:
    """Every kind of field that a plan may set."""

    name: str
    count: int = 1
    rate: float = 0.5
    kind: Literal["small", "large"] = "small"
    on: bool = False
    sizes: tuple[int, ...] = (1, 2)
    triple: tuple[int, int, int] = (1, 2, 3)
    options: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    fitted: Tensor | None = None
    derived: int = field(default=3, init=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise PlanError(f"Example: count={self.count}: expected at least 1")


FULL = {
    "name": "a",
    "count": 2,
    "rate": 1.5,
    "kind": "large",
    "on": True,
    "sizes": [3],
    "triple": [4, 5, 6],
    "options": {"width": 4, "share": 0.5, "norm": "group", "bias": False},
}


def test_a_full_table_becomes_the_object():
    made, problems = parse(Example, FULL, "[example]")
    assert problems == []
    expected = Example("a", 2, 1.5, "large", True, (3,), (4, 5, 6), FULL["options"])
    assert made == expected
    assert [type(value) for value in made.options.values()] == [int, float, str, bool]


def test_what_is_left_out_keeps_its_default():
    assert parse(Example, {"name": "b"}, "[example]") == (Example("b"), [])


def test_whole_numbers_are_fine_where_others_are_expected():
    made, problems = parse(Example, {"name": "b", "rate": 2}, "[example]")
    assert problems == []
    assert made.rate == 2.0
    assert type(made.rate) is float


def test_settings_round_trip_through_json():
    example = Example("c", 4, 0.25, "large", options={"width": 8})
    made, problems = parse(Example, json.loads(json.dumps(plain_fields(example))), "[example]")
    assert problems == []
    assert made == example


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("count", "2"),
        ("count", 2.0),
        ("count", 2.5),
        ("count", True),
        ("rate", "fast"),
        ("rate", True),
        ("kind", "medium"),
        ("on", 1),
        ("on", "yes"),
        ("sizes", 3),
        ("sizes", ["3"]),
        ("triple", [1, 2]),
        ("options", [1]),
        ("options", {"width": None}),
        ("count", None),
    ],
)
def test_types_are_not_converted(key, value):
    made, problems = parse(Example, {"name": "a", key: value}, "[example]")
    assert made is None
    assert problems
    assert all("[example]" in sentence and key in sentence for sentence in problems)


def test_a_wrong_value_is_shown_beside_what_is_allowed():
    _, problems = parse(Example, {"name": "a", "kind": "medium"}, "[example]")
    assert problems == ["[example] kind: should be 'small' or 'large', got 'medium'"]


def test_all_problems_come_together():
    made, problems = parse(Example, {"cuont": 2, "rate": "fast", "kind": "medium"}, "[example]")
    assert made is None
    assert len(problems) == 4
    text = "\n".join(problems)
    assert "unknown key 'cuont'; allowed: name, count, rate, kind, on, sizes, triple, options" in text
    assert "expected a key 'name', got none" in text
    assert "got 'fast'" in text
    assert "got 'medium'" in text


def test_values_out_of_range_are_what_the_dataclass_says():
    assert parse(Example, {"name": "a", "count": 0}, "[example]") == (
        None,
        ["[example]: Example: count=0: expected at least 1"],
    )


def test_fitted_tensors_are_no_settings():
    example = Example("a", fitted=torch.ones(2))
    assert "fitted" not in allowed_keys(Example)
    assert "derived" not in allowed_keys(Example)
    assert "fitted" not in plain_fields(example)
    assert tensor_fields(example).keys() == {"fitted"}
    assert tensor_fields(Example("a")) == {}
    made, problems = parse(Example, {"name": "a", "fitted": [1.0]}, "[example]")
    assert made is None
    assert "unknown key 'fitted'" in problems[0]


def test_a_dataclass_without_fields_says_that_nothing_is_allowed():
    @dataclass(frozen=True)
    class Empty:
        """Nothing to set."""

    assert parse(Empty, {}, "[empty]") == (Empty(), [])
    assert parse(Empty, {"std": 1}, "[empty]")[1] == ["[empty]: unknown key 'std'; allowed: none"]
