import pytest

pytest.importorskip("flwr", reason="needs leakward[flower]")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    import tiny_job

    return tiny_job.npz(tmp_path_factory.mktemp("data") / "tiny.npz")
