"""What a run folder holds is whole, whatever happened to the process that wrote it."""

import pyarrow as pa
import pytest

from leakward.auditing.store import Store
from leakward.errors import LeakwardError

SCHEMA = pa.schema([("x", pa.int64())])


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_part_appears_with_everything_in_it(tmp_path):
    store = Store(tmp_path)
    with store.new_part("abc") as folder:
        Store.dump(folder / "cell.json", {"x": 1})
        assert not store.has("abc")
        assert not (tmp_path / "parts" / "abc").exists()
    assert store.has("abc", "cell.json")
    assert not store.has("abc", "cell.json", "images.safetensors")
    assert store.read_json("abc", "cell.json") == {"x": 1}
    assert names(tmp_path) == ["parts/abc/cell.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, LeakwardError])
def test_an_error_inside_the_block_leaves_nothing(tmp_path, error):
    store = Store(tmp_path)

    def half():
        with store.new_part("abc") as folder:
            (folder / "half").write_text("x")
            raise error

    with pytest.raises(error):
        half()
    assert not store.has("abc", "half")
    assert [path.name for path in (tmp_path / "parts").iterdir()] == []


def test_a_part_made_again_replaces_the_old_one(tmp_path):
    store = Store(tmp_path)
    for name in ("old", "new"):
        with store.new_part("abc") as folder:
            (folder / name).write_text("x")
    assert names(tmp_path) == ["parts/abc/new"]


def test_what_a_killed_audit_left_half_written_is_cleaned_and_the_rest_kept(tmp_path):
    store = Store(tmp_path)
    with store.new_part("abc") as folder:
        (folder / "cell.json").write_text("{}")
    half = tmp_path / "parts" / ".part-half"
    half.mkdir()
    (half / "cell.json").write_text('{"sta')
    (tmp_path / "parts" / ".part-cells.parquet").write_text("PAR1")
    with Store(tmp_path).exclusive():
        pass
    assert [name for name in names(tmp_path) if not name.endswith(".lock")] == ["parts/abc/cell.json"]


def test_two_audits_cannot_write_to_one_folder_at_a_time(tmp_path):
    def enter():
        with Store(tmp_path).exclusive():
            pass

    with Store(tmp_path).exclusive(), pytest.raises(LeakwardError, match="another audit is writing to this folder"):
        enter()
    enter()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    store = Store(tmp_path)
    store.write_json("summary.json", {"x": 1})
    store.write_table("t.parquet", [{"x": 1}], SCHEMA)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(ValueError, match="Out of range float"):
        store.write_json("summary.json", {"x": float("nan")})
    with pytest.raises(pa.ArrowInvalid):
        store.write_table("t.parquet", [{"x": "one"}], SCHEMA)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_a_table_cut_short_by_an_error_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_table("t.parquet", [{"x": 1}], SCHEMA)
    before = (tmp_path / "t.parquet").read_bytes()

    def full(table, path):
        path.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leakward.auditing.store.pq.write_table", full)
    with pytest.raises(LeakwardError, match="No space left on device"):
        store.write_table("t.parquet", [{"x": 2}], SCHEMA)
    assert (tmp_path / "t.parquet").read_bytes() == before
    assert names(tmp_path) == ["t.parquet"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LeakwardError, match="expected a folder to write to") as caught:
        Store(tmp_path / place)
    assert len(str(caught.value).splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"
