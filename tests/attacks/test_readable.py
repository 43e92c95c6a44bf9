"""What an attacker who knows a defence leaves out before reading a message."""

from dataclasses import dataclass

import torch

from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.reading.readable import readable
from leakward.federated import Defense, Evidence, LocalTraining, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

TRUE, FALSE = 2, 0


@dataclass(frozen=True)
class Decoy(Defense):
    """Put a lure into known places, where a wrong class looks like the label; trust no bias at all."""

    def on_update(self, message, private, tape):
        return {name: torch.where(self.hidden(name, value), -99.0, value) for name, value in message.items()}, private

    def evidence(self, message, images, *_):
        trust = {name: (~self.hidden(name, value)).to(value) for name, value in message.items()}
        return Evidence(message, trust | {"predictor.1.bias": torch.zeros_like(message["predictor.1.bias"])})

    def hidden(self, name, value):
        places = torch.zeros_like(value, dtype=torch.bool)
        if name == "predictor.1.weight":
            places[FALSE, 0] = True
        return places


def test_what_is_known_to_say_nothing_is_not_read():
    task = build_task(TaskSpec("lenet", (1, 12, 12), 4, {"channels": 4}))
    batch = Batch(torch.rand(1, 1, 12, 12, generator=generator(1)), torch.tensor([TRUE]))
    sent = run_round(task, initial_state(task, generator(0)), batch, LocalTraining(), Decoy(), generator(2))
    unaware, aware = (observe(sent, ThreatModel(knowledge)) for knowledge in ("unaware", "aware"))
    assert infer_labels(unaware).tolist() == [FALSE]
    assert infer_labels(aware).tolist() == [TRUE]
    read = readable(aware)
    assert read["predictor.1.weight"][FALSE, 0] == 0
    assert torch.equal(read["predictor.1.bias"], sent.update.tensors["predictor.1.bias"])
    assert readable(unaware) == unaware.update.tensors
