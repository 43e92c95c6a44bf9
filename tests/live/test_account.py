"""What a ledger comes to: every client by itself, what was withheld apart from what left."""

from dataclasses import replace

from leakward.live import Account, Entry, Ledger, accounts, composed

DEFENSE = {"name": "local-dp", "max_norm": 1.0, "noise_multiplier": 4.0}
SENT = Entry("clinic-0", 1, True, "recorded", 4, DEFENSE, identified=0.25, epsilon=1.0)
WITHHELD = replace(SENT, sent=False, identified=0.75, reason="the attack identified 75% of the images, above 50%")


def test_each_client_has_its_own():
    other = replace(SENT, client="clinic-1", identified=None, epsilon=None)
    found = accounts([SENT, other, WITHHELD, replace(SENT, epsilon=2.0)])
    assert found == [
        Account("clinic-0", 2, 1, 2.0, 1e-5, 0.75, WITHHELD.reason),
        Account("clinic-1", 1, 0, None, 1e-5, None, ""),
    ]
    assert accounts([]) == []


def test_the_command_prints_them(tmp_path, leakward):
    ledger, entries = Ledger(tmp_path / "ledger.jsonl"), [SENT]
    entries.append(replace(WITHHELD, epsilon=composed([SENT], 1e-5)))
    for entry in entries:
        ledger.append(entry)
    code, out, _ = leakward("ledger", ledger.path)
    assert code == 0
    row = out.splitlines()[1].split()
    epsilon = composed([SENT], 1e-5)
    assert row[:6] == ["clinic-0", "1", "1", f"{epsilon:.3g}", "1e-05", "75%"]
    assert "the attack identified 75% of the images" in " ".join(out.split()), "at any width of the terminal"


def test_a_ledger_that_was_changed_or_is_not_there_is_an_error(tmp_path, leakward):
    path = tmp_path / "ledger.jsonl"
    code, _, err = leakward("ledger", path)
    assert (code, "made with the first message" in err) == (1, True)
    Ledger(path).append(SENT)
    path.write_text(path.read_text().replace('"images": 4', '"images": 1'))
    code, _, err = leakward("ledger", path)
    assert (code, "that Leakward alone wrote to" in err) == (1, True)
