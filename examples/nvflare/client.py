"""What a site trains: a script for FLARE's Client API, with one line more, which hands the images of the round over."""

import argparse
from pathlib import Path

import nvflare.client as flare
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leakward.data import load_data
from leakward.federated import LocalTraining
from leakward.integrations.nvflare import hand_over
from leakward.live import read_site
from leakward.models import build_task

IMAGES = 1
"""Of a round: so few that an update gives them away where nothing protects it."""


def main() -> None:
    """Train for as long as the server asks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--site", type=Path, required=True, help="file of the site")
    site = parser.parse_args().site
    settings = read_site(site)
    flare.init()
    name = flare.get_site_name()
    images, labels = own_images(name)
    model = build_task(settings.task).model
    while flare.is_running() and (received := flare.receive()) is not None:
        model.load_state_dict(received.params or {})
        order = torch.randperm(len(images))
        now, rest = order[:IMAGES], order[IMAGES:]
        train(model, images[now], labels[now], settings.recipe)
        hand_over(site, name, images[now], labels[now], images[rest], labels[rest])
        flare.send(flare.FLModel(params=model.state_dict(), meta={"NUM_STEPS_CURRENT_ROUND": 1}))


def own_images(name: str) -> tuple[Tensor, Tensor]:
    """Return what ``site-1`` or ``site-2`` holds: drawn images, which show no patient, and their labels."""
    images, labels = load_data("phantom", size=16, count=300).subset("train")
    return images[int(name[-1]) % 2 :: 2], labels[int(name[-1]) % 2 :: 2]


def train(model: nn.Module, images: Tensor, labels: Tensor, recipe: LocalTraining) -> None:
    """Take a step on the images."""
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate)
    optimizer.zero_grad()
    cross_entropy(model(images), labels).backward()
    optimizer.step()


if __name__ == "__main__":
    main()
