"""The documents say only what is so: plans parse, Python runs, links and options exist."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from leakward import registry
from leakward.live.settings import Gate, Home
from leakward.models import TaskSpec
from leakward.settings import plain_fields

ROOT = Path(__file__).parents[1]
TREES = (ROOT / "docs", ROOT / "examples")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [page for tree in TREES for page in sorted(tree.rglob("*.md"))]
OF_FLOWER = {"--node-config", "--trusted-entities", "--stream", "--run-config", "--insecure", "--superlink", "--port"}
OF_OTHERS = {"--index-url", "--only", "--undefended", "--disable-runtime-dependency-installation", *OF_FLOWER}
OF_OTHERS |= {"--head", "--address"}
"""Options of pip, of Flower, of Ray and of our benchmarks and examples that the documents name."""
HEAVY = "leakward.audit("
"""Such a block runs a whole audit; it is only compiled."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def tables(page: Path) -> list[dict[str, object]]:
    return [tomllib.loads(text) for text in blocks(page, "toml")]


def of_pages(pages: list[Path]):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder to work in, on the Python path, with one thread: the examples are tiny."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    threads, seed = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    torch.set_rng_state(seed)


def write_files(page: Path, folder: Path) -> list[str]:
    """Write the blocks that begin with a file name, and return the others."""
    rest: list[str] = []
    for text in blocks(page, "python"):
        name = re.match(r"# (\S+\.py)\n", text)
        if name is None:
            rest.append(text)
            continue
        file = folder / name[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return rest


def install(page: Path, folder: Path) -> dict[str, dict[str, str]]:
    """Install the entry points that a page declares, and return them by family."""
    found = {
        group: points
        for table in tables(page)
        if "project" in table
        for group, points in table["project"]["entry-points"].items()
    }
    lines = [
        line for group, points in found.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
    ]
    info = folder / "documented-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: documented\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return {group.removeprefix("leakward."): points for group, points in found.items()}


@of_pages(PAGES)
def test_every_plan_parses(page: Path):
    from leakward import make_plan

    for table in tables(page):
        if "project" not in table:
            make_plan({"attack": [{"name": "idlg"}]} | table)


@pytest.mark.filterwarnings("ignore:Secure RNG turned off", "ignore:Full backward hook")  # Opacus's
@of_pages(PAGES)
def test_python_runs(page: Path, example_folder: Path):
    for text in write_files(page, example_folder):
        code = compile(text, page.name, "exec")
        if HEAVY not in text:
            exec(code, {"__name__": "example"})


@of_pages([page for page in PAGES if page.name.startswith("adding-")])
def test_a_plan_can_name_what_the_guides_register(page: Path, example_folder: Path):
    from leakward import make_plan, registry
    from leakward.auditing.plan import plain

    write_files(page, example_folder)
    registered = install(page, example_folder)
    assert registered
    for family, points in registered.items():
        for name in points:
            assert registry.name_of(family, registry.load(family, name)) == name
            plan = make_plan({"attack": [{"name": "idlg"}], family.removesuffix("s"): [{"name": name}]})
            assert make_plan(plain(plan)) == plan


def test_the_documented_network_fits(example_folder: Path):
    from leakward.models import SplitModel, TaskSpec, build_task

    page = ROOT / "README.md"
    write_files(page, example_folder)
    own = [table["model"] for table in tables(page) if ":" in table.get("model", {}).get("name", "")]
    assert own
    for options in own:
        name = options.pop("name")
        assert isinstance(build_task(TaskSpec(name, (3, 13, 12), 4, options)).model, SplitModel)


def test_the_documented_capture_is_one(example_folder: Path):
    from leakward.threat import load_capture

    texts = [text for text in write_files(ROOT / "README.md", example_folder) if "save_capture" in text]
    assert len(texts) == 1
    exec(texts[0], {"__name__": "example"})
    [folder] = (example_folder / "captures").iterdir()
    assert f"leakward doctor captures/{folder.name} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert load_capture(folder).update.images == 1


@of_pages(PAGES)
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in headings(file), f"{page.name} links to {target}"


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def options(command: Any) -> set[str]:
    """Return the options of a command, and of the commands below it."""
    own = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    return own.union(*(options(below) for below in getattr(command, "commands", {}).values()))


@of_pages(PAGES)
def test_commands_and_options_exist(page: Path):
    from leakward.cli import app

    commands = {name: options(command) for name, command in typer.main.get_command(app).commands.items()}
    known = set().union(*commands.values()) | OF_OTHERS
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known
    for line in re.findall(r"^    leakward (.+)$|`(?:python -m )?leakward ([^`]+)`", text, re.MULTILINE):
        name, *words = "".join(line).partition("#")[0].split()
        assert name in commands, f"leakward {name}"
        assert {word for word in words if word.startswith("--")} <= commands[name], (
            f"leakward {' '.join([name, *words])}"
        )


def test_the_readme_lists_what_is_built_in_and_nothing_else():

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    here = re.search(r"^Here: (.+?)\n\n", text, re.DOTALL | re.MULTILINE)[1]
    built_in = {name for family in ("attacks", "defenses", "models") for name in registry.BUILT_IN[family]}
    assert {*re.findall(r"`([^`]+)`", here)} == built_in - {"none"}
    sources = [
        cell for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for cell in re.findall(r"`([^`]+)`", row)
    ]
    assert {*registry.BUILT_IN["data"]} <= {*sources}


def test_the_page_on_live_federations_has_every_key_of_a_site():
    page = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert keys == {field.name for kind in (Home, TaskSpec, Gate) for field in fields(kind)}


PARTS = [
    (family, folder, name)
    for family, folder in (("attacks", "attacks"), ("defenses", "defences"))
    for name in sorted(registry.BUILT_IN[family])
    if name != "none"
]


@pytest.mark.parametrize(("family", "folder", "name"), PARTS)
def test_every_attack_and_defence_has_a_page_with_its_fields_and_their_defaults(family, folder, name):
    page = (ROOT / "docs" / folder / f"{name}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    defaults = plain_fields(registry.load(family, name)())
    assert rows.keys() == defaults.keys()
    for field, text in rows.items():
        written = text.strip().strip("`").strip('"').replace(",", "")
        expected = defaults[field]
        if expected is None:
            assert written.startswith("of the ")
        elif isinstance(expected, str | tuple):
            assert written == (expected or "empty")
        else:
            assert float(written) == expected
    assert f'name = "{name}"' in page
    assert f"({name}.md)" in (ROOT / "docs" / folder / "README.md").read_text(encoding="utf-8")
