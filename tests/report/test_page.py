"""The page: complete, escaped, offline, and free of images when asked."""

import json
import re

import pytest

from leakward.errors import LeakwardError
from leakward.report import build_report


def test_the_page_says_what_the_run_found(make_run):
    page = build_report(make_run()).read_text(encoding="utf-8")
    assert 'lang="en"' in page
    for words in ("Verdict:", "Controls", "Who attacks", "Limits", "Reproduce", "Licence of the data"):
        assert words in page
    for defense in ("gaussian-noise(std=0.01)", "pruning(ratio=0.9)", "dp-sgd(clip=1.0, noise_multiplier=1.1)"):
        assert defense in page
    assert page.count("data:image/png;base64,") >= 8, "originals and reconstructions are inside"


def test_nothing_is_fetched_from_anywhere(make_run):
    page = build_report(make_run()).read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    markup = re.sub(r"<script\b.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", markup)
    assert not re.search(r"url\((?!['\"]?data:)", markup)
    assert not re.search(r"<script[^>]+src=", page)


def test_without_images_no_image_is_in_the_file(make_run):
    page = build_report(make_run(), images=False).read_text(encoding="utf-8")
    markup = re.sub(r"<script\b.*?</script>", "", page, flags=re.S)
    assert "data:image" not in markup
    assert "<img" not in markup
    for figures in re.findall(r"Plotly\.newPlot\(.*?</script>", page, flags=re.S):
        assert "data:image" not in figures
    assert "contains no patient image" in page


def test_a_run_that_kept_no_images_still_has_a_page(make_run):
    assert "kept no images" in build_report(make_run(images=False)).read_text(encoding="utf-8")


def test_hostile_words_are_only_words(make_run):
    def edit(summary, plan):
        plan["facts"]["data"]["name"] = "<script>alert(1)</script>"
        summary["verdict"]["reason"] = "<img src=x onerror=alert(2)>"
        summary["defenses"][1]["defense"] = "</table><b>bold"

    page = build_report(make_run(edit)).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "</table><b>bold" not in page
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


def test_what_was_not_measured_is_said_not_guessed(make_run):
    def edit(summary, plan):
        plan["facts"]["finished"] = None
        summary["utility"] = []
        for row in summary["defenses"]:
            row["accuracy"] = row["f1_macro"] = None
            for metrics in row["levels"].values():
                for estimate in metrics.values():
                    estimate["low"] = estimate["high"] = None

    page = build_report(make_run(edit), images=False).read_text(encoding="utf-8")
    assert "not measured" in page
    assert not re.search(r"\b(nan|None|null)\b", re.sub(r"<(script|pre|style)\b.*?</\1>", "", page, flags=re.S))


@pytest.mark.parametrize("name", ["summary.json", "plan.json"])
@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_broken_run_is_one_sentence_and_leaves_the_old_page(make_run, name, content):
    run = make_run()
    before = build_report(run).read_bytes()
    (run / name).unlink() if content is None else (run / name).write_text(content)
    with pytest.raises(LeakwardError, match=re.escape(name)):
        build_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob(".report*"))


def test_the_same_run_gives_the_same_page(make_run):
    run = make_run()
    assert build_report(run).read_bytes() == build_report(run).read_bytes()
    assert json.loads((run / "summary.json").read_text())["schema"] == 1
