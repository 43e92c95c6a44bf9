"""One function for names and paths."""

import pytest
import written

from leakward.data import load_data
from leakward.errors import DataError


def test_a_registry_name_wins_over_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "retinamnist").mkdir()
    file = written.npz(tmp_path / "x.npz")
    assert load_data("retinamnist", path=str(file)).classes[0] == "grade 0"


def test_an_npz_and_a_folder_by_path(tmp_path):
    file = written.npz(tmp_path / "cells.npz")
    assert load_data(str(file)).name == "cells"
    root = written.tree(tmp_path / "site")
    data = load_data(str(root), size=16, count=12, seed=1)
    assert (data.name, data.image_shape, len(data.images)) == ("site", (3, 16, 16), 12)


def test_another_name_for_what_is_at_a_path(tmp_path):
    file = written.npz(tmp_path / "cells.npz")
    assert load_data("ours", path=file).name == "ours"
    assert load_data("ours", path=written.tree(tmp_path / "site")).name == "ours"


def test_the_name_of_the_folder_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(written.tree(tmp_path / "site"))
    assert load_data(".").name == "site"


def test_refuses_what_is_neither_name_nor_path(tmp_path):
    with pytest.raises(DataError, match=r"bloodmist.*expected one of bloodmnist, cifar10, .* or a path: an \.npz"):
        load_data("bloodmist")
    with pytest.raises(DataError, match="there is none; check the path"):
        load_data("ours", path=tmp_path / "none.npz")
    (tmp_path / "x.csv").write_text("x")
    with pytest.raises(DataError, match=r"x\.csv: expected an \.npz .* got a file of another kind"):
        load_data(str(tmp_path / "x.csv"))
