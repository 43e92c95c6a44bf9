"""``leakward lint``: what it prints, and how it ends."""

import pytest
from minimal_apps import LOCAL_DP, PERCENTILE, entry, flower, job, write


@pytest.fixture
def folder(tmp_path):
    """A function that writes files to a folder, and returns it."""

    def written(files):
        write(tmp_path / "app", files)
        return tmp_path / "app"

    return written


def test_problems_are_printed_with_reason_and_cure(leakward, folder, monkeypatch):
    app = folder(flower("", "mods=[LocalDpMod(1.0, 1e-5, 1.0, 1e-5)]"))
    from leakward import cli

    monkeypatch.setattr(cli, "out", cli.Console(width=80))
    code, out, err = leakward("lint", app)
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[0] == "problem: sensitivity-below-norm"
    assert lines[1] == f"  {app / 'client_app.py'}:9"
    assert "  why: LocalDpMod draws noise" in out
    assert "  cure: Set sensitivity to clipping_norm" in out
    assert lines[-1] == "1 problem, 2 remarks"
    assert max(len(line) for line in lines if str(app) not in line) <= 80
    assert not any(line.endswith(" ") for line in lines)


def test_places_of_one_trap_share_its_reason(leakward, folder):
    code, out, _ = leakward("lint", folder(job(entry(PERCENTILE), entry(PERCENTILE))))
    assert code == 3
    assert out.count("problem: filter-on-whole-weights") == out.count("made for changes of weights") == 1
    assert out.count("config_fed_client.json:") == 3
    assert out.endswith("2 problems, 1 remark\n")


def test_remarks_alone_are_no_failure(leakward, folder):
    code, out, _ = leakward("lint", folder(flower("", LOCAL_DP)))
    assert code == 0
    assert out.endswith("2 remarks\n")


def test_nothing_found_is_no_proof(leakward, folder):
    code, out, _ = leakward("lint", folder(flower()))
    assert (code, out) == (0, "nothing found; a reader of files cannot see what happens at run time\n")


@pytest.mark.parametrize("name", ["", "nowhere", "notes.txt", "plain.py"])
def test_what_is_no_app_is_refused_in_one_sentence(leakward, folder, name):
    here = folder({"notes.txt": "a", "plain.py": "a = 1"})
    code, out, err = leakward("lint", here / name)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_file_can_be_read_alone(leakward, folder):
    app = folder(flower(LOCAL_DP))
    code, out, _ = leakward("lint", app / "client_app.py")
    assert code == 3
    assert f"  {app / 'client_app.py'}:7\n" in out


def test_names_in_files_cannot_steer_the_terminal(leakward, folder):
    files = job(entry("PercentilePrivacy\x1b[2J[red]", gamma=0), tasks=["*"])
    code, out, _ = leakward("lint", folder(files | {"a\x1b[2J[b].py": "("}))
    assert code == 3
    assert "\x1b" not in out
    assert "PercentilePrivacy?[2J[red] is set" in out
    assert "a?[2J[b].py:1" in out
