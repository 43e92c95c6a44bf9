"""The leaderboard: who has a place, in which order, and what is refused."""

import pandas as pd
import pytest

from leakward.errors import LeakwardError
from leakward.report import update_leaderboard

FOUND = {  # identified, accuracy
    "none": (1.0, 0.9),
    "pruning": (0.5, 0.88),
    "sign": (0.2, 0.87),
    "clipping": (0.2, 0.89),
    "dp-sgd": (0.0, 0.6),
}


@pytest.fixture
def board(tmp_path):
    return tmp_path / "board.csv", tmp_path / "board.md"


@pytest.fixture
def run(make_run):
    """A finished run with these results; clipping recovers images better than sign does."""

    def make(
        found=FOUND, positive=True, rate=0.1, images=0, attack="dlg", verdict="leaks", data="phantom", epsilon=None,
        **options,
    ):  # fmt: skip
        def edit(summary, plan):
            row = summary["defenses"][0]
            cell = {"cells": summary["cells"][0] | {"recipe": "update", "attack": attack}}
            ssim = {"mean": 0.3, "low": 0.2, "worst": 0.9}
            summary["cells"] = [cell["cells"] | {"defense": name, "knowledge": "aware"} for name in found]
            summary["defenses"] = [
                row
                | {"defense": name, "accuracy": accuracy, "victims": 8, "epsilon": epsilon}
                | {"verdict": {"status": verdict if name != "none" else "leaks", "reason": "made up"}}
                | {
                    "levels": {
                        "aware": {
                            "identified": {"mean": mean, "low": 0.0, "high": mean, "worst": 1.0},
                            "ssim": ssim | {"high": 0.4 if name == "clipping" else 0.3},
                        }
                    }
                }
                for name, (mean, accuracy) in found.items()
            ]
            summary["controls"]["positive"]["passed"] = positive
            plan["plan"] = {
                "data": {"name": data, "clients": 4},
                "model": {"name": "cnn6", "width": 6},
                "recipe": {"learning_rate": rate},
                "audit": {"victims": 8, "labels": "inferred"},
                "federation": {"rounds": 10, "images": images},
            }

        return make_run(edit, images=False, **options)

    return make


def places(page):
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    return [(row[0].strip("| "), row[1]) for row in rows[1:]]


def test_a_place_goes_by_leak_then_similarity_and_has_a_price(run, board):
    assert update_leaderboard([run()], *board) == 5
    expected = [("1", "sign"), ("2", "clipping"), ("3", "pruning"), ("", "dp-sgd"), ("", "none")]
    assert places(board[1]) == expected
    assert "## phantom, cnn6(width=6), update" in board[1].read_text()
    update_leaderboard([], *board, cost=0.5)
    assert places(board[1])[0] == ("1", "dp-sgd")


def test_a_new_result_replaces_the_old_one_and_others_stay(run, board):
    update_leaderboard([run()], *board)
    again = {"none": (1.0, 0.9), "pruning": (0.1, 0.88)}
    assert update_leaderboard([run(again, folder="again")], *board) == 5
    assert places(board[1])[0] == ("1", "pruning")
    assert pd.read_csv(board[0]).set_index("defense").loc["pruning", "identified"] == 0.1


def test_without_a_new_run_the_page_is_that_of_the_table(run, board):
    update_leaderboard([run()], *board)
    files = [path.read_bytes() for path in board]
    update_leaderboard([], *board)
    assert [path.read_bytes() for path in board] == files


def test_a_defence_whose_accuracy_is_not_known_has_no_place(run, board):
    update_leaderboard([run({"none": (1.0, 0.9), "sign": (0.0, None)})], *board)
    assert places(board[1]) == [("", "sign"), ("", "none")]


def test_other_settings_are_other_sections(run, board):
    runs = [run(), run(rate=0.2, folder="rate"), run({"none": (1.0, 0.5), "sign": (0.0, 0.5)}, images=50, folder="few")]
    assert update_leaderboard(runs, *board) == 12
    assert board[1].read_text().count("## phantom, cnn6(width=6), update") == 3
    assert "4 clients, 10 rounds of 50 images" in board[1].read_text()
    assert places(board[1]).count(("", "dp-sgd")) == 2


def test_images_in_a_folder_are_the_same_wherever_it_lies(run, board):
    update_leaderboard([run(data="/one/skin")], *board)
    assert update_leaderboard([run(folder="again", data="/another/skin")], *board) == 5
    assert update_leaderboard([run(folder="other", data="/one/xray")], *board) == 10
    assert "/one" not in board[0].read_text()


def test_numbers_that_stay_are_written_as_they_were(run, board):
    update_leaderboard([run(epsilon=219974.0)], *board)
    before = board[0].read_text()
    assert ",219974," in before
    update_leaderboard([run({"none": (1.0, 0.9)}, images=500, folder="more")], *board)
    assert {*before.splitlines()} < {*board[0].read_text().splitlines()}


def test_of_several_attacks_the_one_that_finds_most_counts(run, board):
    weak = {"none": (1.0, 0.9), "sign": (0.0, 0.87)}
    assert update_leaderboard([run(), run(weak, attack="idlg", folder="weak")], *board) == 7
    assert places(board[1])[0] == ("1", "sign")
    line = next(line for line in board[1].read_text().splitlines() if "| sign |" in line)
    assert "20%" in line
    assert line.endswith("| dlg |")


def test_an_audit_that_was_not_conclusive_gives_no_place(run, board):
    update_leaderboard([run({"none": (1.0, 0.9), "sign": (0.0, 0.9)}, verdict="inconclusive")], *board)
    assert places(board[1]) == [("", "sign"), ("", "none")]


def test_a_failed_attack_ranks_nothing(run, board):
    with pytest.raises(LeakwardError, match="an attack that succeeds without a defence"):
        update_leaderboard([run(positive=False)], *board)
    assert not board[0].exists()


def test_what_is_no_leaderboard_is_refused(run, board):
    with pytest.raises(LeakwardError, match="name a run folder"):
        update_leaderboard([], *board)
    board[0].write_text("a,b\n1,2\n")
    with pytest.raises(LeakwardError, match="got: the columns a, b"):
        update_leaderboard([run()], *board)
    board[0].unlink()
    update_leaderboard([run(folder="good")], *board)
    board[0].write_text(board[0].read_text().replace("0.88", "88%"))
    with pytest.raises(LeakwardError, match="88%"):
        update_leaderboard([], *board)
    with pytest.raises(LeakwardError, match="a share from 0 to 1"):
        update_leaderboard([], *board, cost=2.0)
