"""Steps of Opacus on their way from the training to the ledger."""

import pytest
from opacus import PrivacyEngine

from leakward.errors import WithheldError
from leakward.federated import NoDefense
from leakward.live import LiveSite, counted, read_site
from leakward.live.steps import NEXT, keep_steps, take_steps

pytestmark = pytest.mark.filterwarnings("ignore:Secure RNG")


def engine_of(steps=()):
    engine = PrivacyEngine(accountant="rdp")
    engine.accountant.history = [*steps]
    return engine


def walk(engine, count, noise=1.5):
    for _ in range(count):
        engine.accountant.step(noise_multiplier=noise, sample_rate=0.25)


def test_steps_are_taken_once(tmp_path):
    keep_steps(tmp_path / "private", [(1.5, 0.25, 3)])
    assert take_steps(tmp_path / "private") == ((1.5, 0.25, 3),)
    assert take_steps(tmp_path / "private") == ()


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


@pytest.mark.parametrize("content", ["", "[[1.5]]", "7", '[["a", 1, 2]]', "\x80"])
def test_steps_that_cannot_be_read_withhold(site_file, trained, content):
    site = LiveSite(read_site(site_file), "clinic-a")
    site.private.mkdir(parents=True)
    (site.private / NEXT).write_text(content, encoding="latin-1")
    with pytest.raises(WithheldError):
        site.release(trained.before, trained.after, NoDefense(), 1)
    [entry] = site.ledger.entries()
    assert not entry.sent
    assert "expected a file that Leakward wrote" in entry.reason
