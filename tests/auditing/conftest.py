import pytest
import tiny_site


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return tiny_site.npz(tmp_path_factory.mktemp("data") / "tiny.npz")


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """The run folder of a finished audit; look, do not touch."""
    from leakward.auditing import audit

    return audit(tiny_site.plan(data), tmp_path_factory.mktemp("run") / "finished")
