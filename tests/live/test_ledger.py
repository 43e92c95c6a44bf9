"""The ledger: nothing that was entered is lost, nothing can be changed unseen, and what it adds up to is right."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from opacus.accountants import RDPAccountant

from leakward.defenses import LocalDP
from leakward.errors import LeakwardError
from leakward.live import Entry, Ledger, composed

DEFENSE = {"name": "local-dp", "max_norm": 1.0, "noise_multiplier": 4.0}
SENT = Entry("clinic", 1, True, "recorded", 4, DEFENSE)
WRITER = """
import sys
from pathlib import Path
from leakward.live import Entry, Ledger

ledger = Ledger(Path(sys.argv[1]))
for number in range(10**6):
    ledger.append(Entry("clinic", number, True, "recorded", 4, {"name": "none"}))
    print(number, flush=True)
"""


def test_entries_come_back_as_they_were(tmp_path: Path):
    ledger = Ledger(tmp_path / "site" / "ledger.jsonl")
    written = [SENT, replace(SENT, client="other", steps=((1.0, 0.1, 3),), identified=0.5, epsilon=1.25)]
    for entry in written:
        ledger.append(entry)
    assert ledger.entries() == written
    assert ledger.entries("other") == written[1:]


def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(SENT)
    ledger.append(replace(SENT, round=2))
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-40])
    ledger.append(replace(SENT, round=3))
    assert [entry.round for entry in ledger.entries()] == [1, 3]


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_a_line_that_was_changed_or_removed_shows(tmp_path: Path, damage: str):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in (1, 2, 3):
        ledger.append(replace(SENT, round=number))
    lines = ledger.path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[1] = lines[1].replace('"images": 4', '"images": 1') if damage == "change" else ""
    ledger.path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(LeakwardError, match="that Leakward alone wrote to"):
        ledger.append(SENT)


def test_what_was_entered_survives_a_kill(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        time.sleep(0.2)
        writer.send_signal(signal.SIGKILL)
        told = [0, *(int(line) for line in writer.stdout.read().split())]
    ledger = Ledger(path)
    assert [entry.round for entry in ledger.entries()][: len(told)] == told
    ledger.append(replace(SENT, round=-1))
    assert ledger.entries()[-1].round == -1


def test_epsilon_of_a_defence_is_that_of_its_own_accountant():
    rounds = [replace(SENT, round=number) for number in range(5)]
    guarantee = LocalDP(1.0, 4.0).guarantee(1.0, 5, 1e-5)
    assert guarantee is not None
    assert composed(rounds, 1e-5) == guarantee.epsilon
    withheld = replace(SENT, sent=False)
    assert composed([*rounds, withheld], 1e-5) == guarantee.epsilon


def test_epsilon_of_steps_is_that_of_opacus():
    steps = ((1.0, 0.1, 30), (2.0, 0.1, 30))
    accountant = RDPAccountant()
    accountant.history = [*steps]
    entries = [replace(SENT, steps=(step,)) for step in steps]
    assert composed(entries, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5))


def test_what_was_not_defended_proves_nothing():
    assert composed([], 1e-5) == 0.0
    assert composed([SENT, replace(SENT, defense={"name": "none"})], 1e-5) is None
    assert composed([SENT, replace(SENT, unprotected=True)], 1e-5) is None
    assert composed([SENT, replace(SENT, defense={"name": "strange"})], 1e-5) is None


def test_two_defences_add_up():
    both = [SENT, replace(SENT, defense=DEFENSE | {"noise_multiplier": 8.0})]
    alone = [LocalDP(1.0, noise).guarantee(1.0, 1, 0.5e-5) for noise in (4.0, 8.0)]
    assert composed(both, 1e-5) == pytest.approx(sum(one.epsilon for one in alone if one is not None))


def test_lines_are_plain_json(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(SENT)
    assert json.loads(ledger.path.read_text(encoding="utf-8"))["entry"]["client"] == "clinic"
