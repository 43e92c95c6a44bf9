import pytest
import torch
from torch.func import grad

from leakward.defenses import Clipping
from leakward.defenses.vectors import clip, squared_norm
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.tape import Tape
from leakward.types import generator


def message(length):
    rng = generator(0)
    made = {"a": torch.randn(3, 4, generator=rng), "b": torch.randn(5, generator=rng)}
    scale = length / squared_norm(made).sqrt()
    return {name: scale * value for name, value in made.items()}


@pytest.mark.parametrize(("length", "expected"), [(10.0, 4.0), (4.0, 4.0), (0.5, 0.5), (0.0, 0.0)])
def test_the_norm_of_the_whole_message_is_at_most_the_bound(length, expected):
    before = message(length)
    after = Clipping(4.0).on_update(before, {}, Tape())[0]
    assert float(squared_norm(after).sqrt()) == pytest.approx(expected, abs=1e-5)
    if length < 4:
        assert all(torch.equal(after[name], before[name]) for name in before)
    direction = torch.nn.functional.cosine_similarity
    if length:
        assert direction(after["a"].flatten(), before["a"].flatten(), dim=0) == pytest.approx(1, abs=1e-6)


def test_buffers_are_sent_as_they_are_and_do_not_enter_the_norm(batchnorm):
    recipe = LocalTraining(batch_images=4, mode="train")
    round_ = (batchnorm.task, batchnorm.state, batchnorm.images, batchnorm.labels, recipe)
    clipped, plain = (client_update(*round_, defense, Tape()) for defense in (Clipping(1e-3), NoDefense()))
    assert float(squared_norm(clipped.tensors).sqrt()) == pytest.approx(1e-3, rel=1e-4)
    assert clipped.buffers.keys() == plain.buffers.keys() != set()
    assert all(torch.equal(value, plain.buffers[name]) for name, value in clipped.buffers.items())


@pytest.mark.parametrize("length", [0.0, 2.0, 8.0])
def test_clipping_can_be_differentiated(length):
    start = message(length)["b"].double()

    def clipped(value):
        return clip({"v": value}, 4.0)["v"].sum()

    assert torch.isfinite(grad(clipped)(start)).all()
    if length:
        assert torch.autograd.gradcheck(clipped, start.clone().requires_grad_())
