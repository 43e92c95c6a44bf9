"""Whatever stands in a folder: a finding or one sentence, nothing run, and nothing read outside of it."""

import os
import sys

import pytest
from minimal_apps import LOCAL_DP, NORM, PERCENTILE, entry, flower, job

DEEP = 100_000


@pytest.mark.parametrize(
    "content",
    [
        b"def broken(:",
        b"\xff\xfe\xfa not text",
        b"a = 'null \0 byte'",
        b"# -*- coding: nonsense -*-\na = 1",
        b"x = " + b"(" * DEEP,
        b"x = " + b"-" * DEEP + b"1",
        b"x = 1" + b"+1" * (DEEP // 2),
        b"x = f" + b"()" * (DEEP // 2),
        b"if a: pass\n" + b"elif a: pass\n" * (DEEP // 10),
        b"x = " + b"9" * DEEP,
        b"x = 1\n" * DEEP,
    ],
    ids=range(11),
)
def test_python_that_cannot_be_read_is_a_problem(rules, content):
    found = rules(flower("", LOCAL_DP) | {"other.py": content})
    assert [(each.level, str(each.path)) for each in found["not-read"]] == [("problem", "other.py")]
    assert "epsilon-per-round" in found  # of what can be read


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[]", b"[" * DEEP, b'{"a":' * DEEP, b'{"a": ' + b"9" * DEEP + b"}", b" " * 4 * DEEP],
    ids=range(7),
)
@pytest.mark.parametrize("name", ["app/config/config_fed_client.json", "local/privacy.json"])
def test_json_that_cannot_be_read_is_a_problem(rules, name, content):
    files = job(entry(PERCENTILE), transfer="DIFF") if name.startswith("app") else {"local/resources.json.default": {}}
    found = rules(files | {name: content})
    assert [(each.level, each.path.as_posix()) for each in found["not-read"]] == [("problem", name)]


@pytest.mark.parametrize("content", ["a = ", "[" + ".".join("a" * 50_000) + "]", "a = " + "[" * DEEP])
def test_toml_that_cannot_be_read_is_a_problem(rules, content):
    found = rules(flower("", LOCAL_DP) | {"pyproject.toml": content})
    assert [(each.level, str(each.path)) for each in found["not-read"]] == [("problem", "pyproject.toml")]
    assert "epsilon-per-round" in found


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".conf", 'include "/etc/passwd"'),
        (".conf", "a = [" + ",".join("1" * 20_000) + "]"),
        (".yml", "a: &a [1]\nb: [*a, *a]"),
        (".yml", "!!python/object/apply:os.system ['true']"),
    ],
)
def test_formats_that_reach_out_or_grow_are_refused(rules, suffix, text):
    pytest.importorskip("pyhocon")
    found = rules({f"app/config/config_fed_client{suffix}": text})
    assert [each.level for each in found["not-read"]] == ["problem"]


@pytest.mark.parametrize(
    "odd", [None, 5, "text", [], {}, [[]], [5], {"a": {"filters": [{"path": "x"}]}}, [{"filters": 1}]]
)
def test_tables_of_another_shape_are_no_crash(rules, odd):
    files = job(entry(PERCENTILE))
    client = files["app/config/config_fed_client.json"]
    for key in ("executors", "task_result_filters", "task_data_filters"):
        assert rules(files | {"app/config/config_fed_client.json": client | {key: odd}}) is not None
    for key in ("scopes", "default_scope"):
        assert rules({"local/privacy.json": {"scopes": [{"name": odd, "task_result_filters": odd}], key: odd}})
    assert rules(flower("", LOCAL_DP) | {"pyproject.toml": "tool = 3"})


def test_settings_of_the_machine_do_not_get_into_findings(rules, monkeypatch):
    pytest.importorskip("pyhocon")
    monkeypatch.setenv("SECRET", "hidden")
    text = f'task_result_filters = [{{tasks = ["*"], filters = [{{path = ${{SECRET}}}}, {{path = "{PERCENTILE}"}}]}}]'
    found = rules({"app/config/config_fed_client.conf": text})
    assert "filter-never-runs" in found
    assert "hidden" not in str(found)


def test_links_are_not_followed(rules, tmp_path):
    from leakward.linting import lint

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "task.py").write_text(flower(norm=NORM)["task.py"])
    app = tmp_path / "app"
    app.mkdir()
    for name, content in flower("", LOCAL_DP).items():
        if name != "task.py":
            (app / name).write_text(content)
    (app / "task.py").symlink_to(outside / "task.py")
    (app / "data").symlink_to(outside)
    (app / "loop.py").symlink_to(app / "loop.py")
    os.mkfifo(app / "pipe.py")
    found = {(each.level, str(each.path)) for each in lint(app) if each.rule == "not-read"}
    assert found == {("problem", "task.py"), ("remark", "data"), ("problem", "loop.py"), ("problem", "pipe.py")}
    assert "BatchNorm2d" not in str(lint(app))


def test_environments_and_hidden_folders_are_no_part_of_an_app(rules):
    files = {f"{folder}/task.py": "def broken(:" for folder in (".git", "__pycache__", "venv/lib")}
    found = rules(flower() | files | {"venv/pyvenv.cfg": ""})
    assert found == {}


def test_a_folder_with_too_much_is_refused_in_one_sentence(rules):
    from leakward.errors import LeakwardError

    for files in ({f"{n}.py": "" for n in range(1_001)}, {f"{n}.py": b"#" * 299_999 for n in range(12)}):
        with pytest.raises(LeakwardError, match="expected at most"):
            rules(flower() | files)


def test_names_that_lead_in_circles_or_to_ever_more_lists_end(rules):
    lists = "\n".join(f"a{n} = [a{n + 1}, a{n + 1}, a{n + 1}, a{n + 1}]" for n in range(200))
    circles = "b = c\nc = b\nd = [d, d, d, d]\nf = d.e\n"
    found = rules(flower("", "mods=[LocalDpMod(a0, b, d, f)]", extra=lists + "\n" + circles))
    assert found.keys() == {"epsilon-per-round", "mods-are-opt-in"}


def test_numbers_beyond_all_bounds_are_no_numbers(rules):
    huge = "1" + "0" * 4_000
    found = rules(flower("", f"mods=[LocalDpMod({huge}, 1e999, 1.0, True)]"))
    assert [each.found for each in found["unsafe-setting"]] == [
        "LocalDpMod with sensitivity = inf: every weight becomes NaN or infinite"
    ]


def test_nothing_is_run_or_imported(rules, tmp_path):
    mark = tmp_path / "ran"
    run = f"open({str(mark)!r}, 'w').close()"
    files = flower("", LOCAL_DP, extra=run) | {"conftest.py": run, "leakward/__init__.py": run}
    before = set(sys.modules)
    assert rules(files)
    assert not mark.exists()
    assert not {name for name in set(sys.modules) - before if name in ("task", "client_app", "conftest")}
