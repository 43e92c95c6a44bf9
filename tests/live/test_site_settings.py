"""The file of a site: everything wrong with it is told at once."""

from pathlib import Path

import pytest

from leakward.errors import PlanError
from leakward.live import read_site


def test_a_folder_is_taken_from_where_the_file_is(site_file: Path):
    settings = read_site(site_file)
    assert Path(settings.home.folder) == site_file.parent / "leakward"
    assert settings.gate is None
    assert settings.task.options == {"width": 4}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "clinic-a"', 'name = "../clinic"', "letters, digits"),
        ('share = "update"', 'share = "gradient"', "changes of weights"),
        ("learning_rate = 0.05", "learning_rate = 0.05\nrate = 1", "unknown key 'rate'"),
        ("[recipe]", '[gate]\nattack = { name = "none" }\n[recipe]', "unknown name 'none'"),
        ("[recipe]", '[gate]\nattack = { name = "robbing-the-fed" }\n[recipe]', "honest server"),
        ("[recipe]", "[gate]\nseconds = nan\n[recipe]", "seconds"),
        ("[recipe]", "[door]\n[recipe]", "unknown table [door]"),
        ('model = "cnn6"', "", "expected a key 'model'"),
        ("[site]", "[site", "expected TOML"),
    ],
)
def test_what_is_wrong_is_told(site_file: Path, old: str, new: str, told: str):
    site_file.write_text(site_file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(PlanError, match=told.replace("[", r"\[").replace("]", r"\]")):
        read_site(site_file)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(PlanError, match="readable file"):
        read_site(tmp_path / "site.toml")
