"""Steps of Opacus on their way from the training to the ledger."""

import pytest
from opacus import PrivacyEngine

from leakward.errors import CaptureError, WithheldError
from leakward.federated import NoDefense
from leakward.live import LiveSite, counted, read_site
from leakward.live.ledger import merged
from leakward.live.steps import NEXT, added, keep_steps, take_steps

pytestmark = pytest.mark.filterwarnings("ignore:Secure RNG")


def engine_of(steps=()):
    engine = PrivacyEngine(accountant="rdp")
    engine.accountant.history = [*steps]
    return engine


def walk(engine, count, noise=1.5):
    for _ in range(count):
        engine.accountant.step(noise_multiplier=noise, sample_rate=0.25)


def walk_and_break(engine, count):
    walk(engine, count)
    raise ValueError("break")


def test_steps_are_taken_once(tmp_path):
    keep_steps(tmp_path / "private", [(1.5, 0.25, 3)])
    assert take_steps(tmp_path / "private", begun=True) == ((1.5, 0.25, 3),)
    assert take_steps(tmp_path / "private", begun=False) == ()


def test_steps_that_may_be_of_another_round_are_refused_once(tmp_path):
    keep_steps(tmp_path / "private", [(1.5, 0.25, 3)])
    with pytest.raises(CaptureError, match="add ModelCheckFilter"):
        take_steps(tmp_path / "private", begun=False)
    assert take_steps(tmp_path / "private", begun=False) == ()


def test_the_ledger_has_the_epsilon_of_opacus_in_processes_of_one_round_each(site_file, trained):
    site = LiveSite(read_site(site_file), "clinic-a")
    for number in (1, 2):
        engine = engine_of()
        with counted(site, engine):
            walk(engine, 3)
            walk(engine, 2, noise=2.0)
        site.release(trained.before, trained.after, NoDefense(), number)
    first, second = site.ledger.entries()
    assert first.steps == second.steps == ((1.5, 0.25, 3), (2.0, 0.25, 2))
    assert second.epsilon == pytest.approx(engine.get_epsilon(1e-5))
    assert second.epsilon > first.epsilon


def test_an_engine_that_goes_on_is_not_given_its_own_steps_again(site_file, trained):
    site, engine = LiveSite(read_site(site_file), "clinic-a"), engine_of()
    for number in (1, 2):
        with counted(site, engine):
            walk(engine, 2)
        site.release(trained.before, trained.after, NoDefense(), number)
    assert [entry.steps for entry in site.ledger.entries()] == [((1.5, 0.25, 2),)] * 2


def test_steps_of_a_round_that_was_never_finished_are_of_no_other(site_file, trained):
    site, engine = LiveSite(read_site(site_file), "clinic-a"), engine_of()
    with counted(site, engine):
        walk(engine, 2)
    site.start()
    site.release(trained.before, trained.after, NoDefense(), 1)
    [entry] = site.ledger.entries()
    assert (entry.steps, entry.epsilon) == ((), None)


def test_no_step_is_lost_where_a_round_has_several_blocks(site_file, trained):
    site = LiveSite(read_site(site_file), "clinic-a")
    first, second = engine_of(), engine_of()
    with counted(site, first):
        walk(first, 2)
    with pytest.raises(ValueError, match="break"), counted(site, second):
        walk_and_break(second, 3)
    site.release(trained.before, trained.after, NoDefense(), 1)
    [entry] = site.ledger.entries()
    assert entry.steps == ((1.5, 0.25, 2), (1.5, 0.25, 3))
    assert entry.epsilon == pytest.approx(second.get_epsilon(1e-5))


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        ([], [(1.0, 0.1, 2)], ((1.0, 0.1, 2),)),
        ([(1.0, 0.1, 2)], [(1.0, 0.1, 2)], ()),
        ([(1.0, 0.1, 2)], [(1.0, 0.1, 5), (2.0, 0.1, 1)], ((1.0, 0.1, 3), (2.0, 0.1, 1))),
        ([(2.0, 0.1, 1), (1.0, 0.1, 2)], [(2.0, 0.1, 1), (1.0, 0.1, 3)], ((1.0, 0.1, 1),)),
    ],
)
def test_what_was_added(earlier, now, expected):
    assert added(earlier, now) == expected


@pytest.mark.parametrize(
    "now",
    [
        [],
        [(1.0, 0.1, 9)],
        [(2.0, 0.1, 1), (1.0, 0.1, 1)],
        [(2.0, 0.1, 1), (1.5, 0.1, 4)],
        [(3.0, 0.1, 1), (1.0, 0.1, 4)],
    ],
)
def test_an_account_that_lost_steps_is_refused(now):
    with pytest.raises(CaptureError, match="expected an accountant that keeps all of them"):
        added([(2.0, 0.1, 1), (1.0, 0.1, 2)], now)


def test_equal_neighbours_are_one():
    assert merged([(1.0, 0.1, 2), (1.0, 0.1, 3), (2.0, 0.1, 1), (1.0, 0.1, 1)]) == [
        (1.0, 0.1, 5), (2.0, 0.1, 1), (1.0, 0.1, 1)
    ]  # fmt: skip


def test_what_is_wrong_with_the_files_is_for_the_log_alone(site_file, caplog):
    site = LiveSite(read_site(site_file), "clinic-a")
    site.ledger.path.parent.mkdir()
    site.ledger.path.write_text('{"check": "", "entry": {}}\n', encoding="utf-8")
    with pytest.raises(WithheldError) as caught, counted(site, engine_of()):
        pass
    assert str(site.ledger.path) not in str(caught.value)
    assert str(site.ledger.path) in caplog.text
    assert "leakward: clinic-a: " in caplog.text


@pytest.mark.parametrize("content", ["[[1.5]]", "7", '[["a", 1, 2]]', "\x80"])
def test_steps_that_cannot_be_read_withhold(site_file, trained, content):
    site = LiveSite(read_site(site_file), "clinic-a")
    site.private.mkdir(parents=True)
    (site.private / NEXT).write_text(content, encoding="latin-1")
    with pytest.raises(WithheldError):
        site.release(trained.before, trained.after, NoDefense(), 1)
    [entry] = site.ledger.entries()
    assert not entry.sent
    assert "expected a file that Leakward wrote" in entry.reason
