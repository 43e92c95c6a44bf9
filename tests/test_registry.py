"""The registry: every name leads somewhere, and a wrong name is answered with the right ones."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from leakward import registry
from leakward.errors import UnknownNameError

ENTRIES = [(family, name) for family, table in registry.BUILT_IN.items() for name in table]


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_every_built_in_name_imports(family: registry.Family, name: str) -> None:
    assert registry.load(family, name) is not None


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_names_have_one_form(family: registry.Family, name: str) -> None:
    assert name == name.lower()
    separator = "_" if family == "metrics" else "-"  # measures are words in the column of a table
    assert all(part.isalnum() for part in name.split(separator))


@pytest.mark.parametrize("family", registry.BUILT_IN)
def test_unknown_name_is_answered_with_the_known_ones(family: registry.Family) -> None:
    with pytest.raises(UnknownNameError) as error:
        registry.load(family, "no-such-name")
    sentence = str(error.value)
    assert "'no-such-name'" in sentence
    assert family in sentence
    assert all(name in sentence for name in registry.BUILT_IN[family])


def plug_in(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Pretend that another installed package adds one data set."""

    def entry_points(group: str) -> EntryPoints:
        return EntryPoints([EntryPoint(name, value, group)] if group == "leakward.data" else [])

    monkeypatch.setattr(registry, "entry_points", entry_points)


def test_another_package_adds_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "theirs", "math:sqrt")
    assert registry.load("data", "theirs")(4.0) == 2.0
    assert "theirs" not in registry.names("models")


def test_another_package_cannot_replace_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "phantom", "math:sqrt")
    assert registry.names("data")["phantom"] == registry.BUILT_IN["data"]["phantom"]
