"""Which networks are read layer by layer."""

from torch import nn

from leakward.attacks.reading.sequence import first_linear, sequence
from leakward.models import SplitModel, Task, TaskSpec, build_task


def task(model):
    return Task(TaskSpec("own", (1, 4, 4), 2), model)


def test_layers_come_by_name_in_the_order_they_act():
    found = sequence(build_task(TaskSpec("mlp", (1, 4, 4), 2, {"hidden": 3})))
    assert [(name, type(layer)) for name, layer in found] == [
        ("encoder.0", nn.Flatten),
        ("encoder.1", nn.Linear),
        ("encoder.2", nn.ReLU),
        ("predictor", nn.Linear),
    ]


def test_a_layer_used_twice_comes_twice():
    activation = nn.Tanh()
    found = sequence(task(nn.Sequential(nn.Linear(1, 1), activation, nn.Sequential(nn.Linear(1, 1), activation))))
    assert [name for name, _ in found] == ["0", "1", "2.0", "2.1"]


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def test_a_part_of_its_own_kind_is_not_read():
    assert sequence(task(nn.Sequential(Residual(nn.Linear(1, 1)), nn.Linear(1, 2)))) is None
    assert sequence(task(SplitModel(Residual(nn.ReLU()), nn.Linear(1, 2)))) is None


def test_the_first_layer_gives_its_input_away_only_if_it_sees_all_of_it_and_is_trained():
    seen = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU(), nn.Linear(3, 2))
    assert first_linear(task(seen)) == first_linear(task(seen), nn.ReLU) == "1"
    assert first_linear(task(seen), nn.Tanh) is None
    assert first_linear(task(nn.Sequential(nn.Flatten(), nn.Linear(16, 2))), nn.ReLU) is None
    assert first_linear(task(nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False), nn.ReLU()))) is None
    assert first_linear(task(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))) is None
    assert first_linear(task(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(16, 2)))) is None
