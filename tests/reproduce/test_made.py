"""What made the tables of a reproduction is kept beside them, and said on its page."""

from dataclasses import replace

import pytest

from leakward.errors import LeakwardError
from leakward.reproduce.made import MADE, Made, load_made

MADE_UP = Made("cpu", "0.1.0", "2.13.0", "Linux x86_64, 2 cores, device cpu", "2026-11-30", 1.25)


def test_it_is_read_back(tmp_path):
    MADE_UP.save(tmp_path)
    assert load_made(tmp_path) == MADE_UP


@pytest.mark.parametrize("content", [None, "", "{}", '{"scale": "large"}'])
def test_what_is_missing_or_broken_is_named(content, tmp_path):
    if content is not None:
        (tmp_path / MADE).write_text(content)
    with pytest.raises(LeakwardError, match=r"expected made\.json of a reproduction"):
        load_made(tmp_path)


def test_a_scale_that_is_none_is_refused(tmp_path):
    replace(MADE_UP, scale="paper").save(tmp_path)
    path = tmp_path / MADE
    path.write_text(path.read_text().replace("paper", "large"))
    with pytest.raises(LeakwardError, match="scale"):
        load_made(tmp_path)
