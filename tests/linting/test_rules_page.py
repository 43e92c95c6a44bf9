"""The page about the linter has every rule as it is, and the example as it is printed."""

import re
from pathlib import Path

from leakward.linting import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "lint.md").read_text(encoding="utf-8")


def test_every_rule_is_in_the_tables_in_its_own_words():
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted((rule.name, rule.reason, rule.cure) for rule in RULES)


def test_the_example_prints_what_the_page_says(leakward, tmp_path, monkeypatch):
    from leakward import cli

    [example] = re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    [printed] = re.findall(r"prints:\n\n```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / example[0]
    file.parent.mkdir()
    file.write_text(f"# {example[0]}\n{example[1]}", encoding="utf-8")
    monkeypatch.setattr(cli, "out", cli.Console(width=80))
    code, out, _ = leakward("lint", file.parent.name)
    assert (code, out) == (3, printed)
