"""The page in a real browser, headless."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from leakward.report import build_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
]
MEASURE = "<script>addEventListener('load',()=>{document.title='width='+document.documentElement.scrollWidth})</script>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium; install Debian's package chromium")


def browse(page: Path, profile: Path, *flags: str) -> str:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture
def page(make_run, tmp_path):
    return build_report(make_run())


def test_the_plot_is_drawn_without_a_network(page, tmp_path):
    document = browse(page, tmp_path / "profile", "--dump-dom", "--window-size=1200,900")
    assert re.search(r'<svg[^>]*class="main-svg"', document)
    assert document.count('class="legendtoggle"') >= 4, "every defence is in the legend"


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_does_not_scroll_sideways(page, tmp_path, width):
    measured = page.with_name("measured.html")
    text = page.read_text(encoding="utf-8").replace("</body>", f"{MEASURE}</body>")
    measured.write_text(re.sub(r"<title>.*?</title>", "<title>page</title>", text, flags=re.S), encoding="utf-8")
    document = browse(measured, tmp_path / "profile", "--dump-dom", f"--window-size={width},900")
    found = re.search(r"<title>width=(\d+)</title>", document)
    assert found
    assert int(found[1]) <= width


def test_the_page_prints(page, tmp_path):
    printed = tmp_path / "page.pdf"
    browse(page, tmp_path / "profile", f"--print-to-pdf={printed}")
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > 20_000
