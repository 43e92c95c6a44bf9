"""A federation small enough to train in a blink: 12 x 12 images of blobs, whose class is where the blob lies."""

from threading import Event

import local_grid
import numpy as np
from torch import nn

from leakward.federated import LocalTraining, NoDefense
from leakward.training import DataSettings, FederationSettings, Job, ModelSettings
from leakward.training.apps import client_app, server_app

SIZES = {"train": 48, "val": 8, "test": 32}
RECIPE = LocalTraining(share="update", minibatch=8, shuffle=True, learning_rate=0.1, momentum=0.5)


def npz(path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in SIZES.items():
        labels = (np.arange(count) % 2).astype(np.uint8)
        images = rng.integers(0, 60, (count, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[3:9, 6 * label : 6 * label + 5] += 150
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels[:, None]
    np.savez(path, **arrays)
    return path


def normalised(input_shape, num_classes):
    """Return a network with BatchNorm."""
    features = input_shape[0] * input_shape[1] * input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, num_classes))


def job(path, *, clients=3, alpha=0.0, recipe=RECIPE, defense=None, seed=0, **federation):
    data = DataSettings(name=str(path), clients=clients, alpha=alpha)
    model = ModelSettings("mlp", {"hidden": 8})
    settings = FederationSettings(**{"rounds": 2, "timeout": 1.0, **federation})
    return Job(data, model, recipe, defense or NoDefense(), settings, seed)


def run(*jobs, app=None, **grid):
    """Train jobs without an engine; return what each comes to."""
    results = {}
    nodes = local_grid.LocalGrid(app or client_app(jobs), max(j.data.clients for j in jobs), **grid)
    server = server_app(jobs, results.__setitem__, lambda *_: None, Event())
    server(nodes, local_grid.context(1))
    return [results[n] for n in range(len(jobs))]
