"""The fully connected network gives its input away exactly."""

import torch
from torch.func import grad
from torch.testing import assert_close

from leakward.models import TaskSpec, build_task, initial_state
from leakward.types import generator


def test_the_gradient_of_the_first_layer_holds_the_image():
    """Row i of the weight gradient is the image times entry i of the bias gradient."""
    task = build_task(TaskSpec("mlp", (3, 8, 8), 4, {"hidden": 16}))
    state = {name: value.double() for name, value in initial_state(task, generator(0)).items()}
    image = torch.rand(1, 3, 8, 8, generator=generator(1), dtype=torch.float64)
    gradient = grad(lambda p: task.loss(task.forward(p, image)[0], torch.tensor([2])))(state)
    weight, bias = gradient["encoder.1.weight"], gradient["encoder.1.bias"]
    assert weight.shape == (16, 192)
    row = bias.abs().argmax()
    assert bias[row].abs() > 0
    assert_close((weight[row] / bias[row]).view_as(image), image)
