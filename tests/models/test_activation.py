"""Where a network looks: MONAI's Grad-CAM++, without a network that holds its own weights."""

import copy

import pytest
import torch
from monai.visualize import GradCAMpp
from torch import nn

from leakward.errors import ModelError
from leakward.models import Task, TaskSpec, build_task
from leakward.models.activation import class_activation, keep_top, last_map, top
from leakward.types import generator


def test_keeping_the_top_share_keeps_that_many():
    cam = torch.rand(2, 10, 10, generator=generator(0)) + 0.1
    for share in (0.0, 0.3, 1.0):
        assert ((keep_top(cam, share) > 0).sum((1, 2)) == int(100 * share)).all()
        assert torch.equal(top(cam, share), (keep_top(cam, share) > 0).float())
    for image, kept in zip(cam, keep_top(cam, 0.3), strict=True):
        assert float(kept[kept > 0].min()) > float(image[kept == 0].max())


class Small(nn.Module):
    """A network of MONAI's kind: it holds its weights, and its last map is named."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2), nn.Tanh())
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(20, 3)

    def forward(self, x):
        return self.head(self.pool(self.maps(x)).flatten(1))


def small():
    model = Small().double()
    rng = generator(3)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng, dtype=torch.double)
    return model, Task(TaskSpec("small", (3, 12, 12), 3), model)


def test_the_activation_map_is_that_of_monai():
    model, task = small()
    assert last_map(task) == ("maps", (5, 4, 4))
    images = torch.rand(2, 3, 12, 12, generator=generator(4), dtype=torch.double)
    cam = GradCAMpp(nn_module=copy.deepcopy(model), target_layers="maps", postprocessing=lambda x: x)
    for label in range(3):
        expected = torch.cat([cam(x=image[None].requires_grad_(), class_idx=label).detach() for image in images])[:, 0]
        low, high = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
        expected = (expected - low) / (high - low).clamp_min(1e-12)
        weights = nn.functional.one_hot(torch.tensor([label, label]), 3).double()
        found = class_activation(task, dict(model.state_dict()), images, weights)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "side", "name"), [("lenet", 12, "encoder"), ("convnet", 28, "encoder"), ("cnn6", 16, "encoder"),
                                ("resnet18", 32, "layer4"), ("densenet121", 64, "class_layers.relu")]
)  # fmt: skip
def test_the_last_map_is_the_last_before_the_pooling(model, side, name):
    found, shape = last_map(build_task(TaskSpec(model, (3, side, side), 4)))
    assert found == name
    assert shape[1] * shape[2] > 1


def test_a_network_without_maps_is_refused():
    with pytest.raises(ModelError, match="convolutional map"):
        last_map(build_task(TaskSpec("mlp", (3, 8, 8), 4)))
