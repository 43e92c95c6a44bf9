"""LPIPS, with and without what it needs."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics import METRICS, lpips, perceptual
from leakward.types import generator

IMAGES = torch.rand(2, 1, 28, 24, generator=generator(0))


@pytest.fixture(autouse=True)
def _fresh_network() -> Iterator[None]:
    perceptual._network.cache_clear()
    yield
    perceptual._network.cache_clear()


@pytest.mark.parametrize("error", [ModuleNotFoundError("no torchvision"), RuntimeError("operator"), OSError("offline")])
def test_without_the_extra_the_error_says_what_to_install(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(**_: object) -> None:
        raise error

    monkeypatch.setattr(perceptual, "LearnedPerceptualImagePatchSimilarity", unavailable)
    with pytest.raises(LeakwardError, match=r"install leakward\[lpips\]"):
        lpips(IMAGES, IMAGES)


def test_images_reach_the_network_as_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in network sees single colour images no smaller than 64, and its answers keep their order."""

    class StandIn(torch.nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            assert one.shape == other.shape == (1, 3, 74, 64)
            assert one.dtype == torch.float32
            return (one - other).abs().mean()

    monkeypatch.setattr(perceptual, "LearnedPerceptualImagePatchSimilarity", lambda **_: StandIn())
    distances = lpips(IMAGES, torch.stack([IMAGES[0], 1 - IMAGES[1]]))
    assert distances[0] == 0
    assert distances[1] > 0


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(LeakwardError, match="1 or 3 channels, got 2"):
        lpips(torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 64, 64))


@pytest.mark.slow
def test_the_real_network_gives_zero_to_a_copy() -> None:
    try:
        distances = lpips(IMAGES, IMAGES)
    except LeakwardError as error:
        pytest.skip(str(error))
    assert METRICS["lpips"].low == 0
    assert distances.tolist() == [0, 0]
