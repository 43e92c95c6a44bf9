"""A site small enough to audit in a second: 12 x 12 images of blobs, whose class is where the blob lies."""

import copy

import numpy as np
import pandas as pd

SIZES = {"train": 48, "val": 16, "test": 32}
PLAN = {
    "model": {"name": "mlp", "hidden": 16},
    "data": {"site_images": 32},
    "audit": {"victims": 4, "knowledge": ["unaware", "aware"]},
    "utility": {"epochs": 1, "batch_size": 16},
    "attack": [{"name": "analytic-linear"}, {"name": "inverting-gradients", "iterations": 3}],
    "defense": [{"name": "gaussian-noise", "std": 0.1}],
}


def images(count, rng, size=12, channels=1):
    """Return uint8 images (n h w c) of one blob each, and in which half it lies."""
    labels = np.arange(count) % 2
    row, column = np.mgrid[:size, :size]
    y = rng.uniform(2, size - 3, count)[:, None, None]
    x = (labels * size / 2 + rng.uniform(1, size / 2 - 2, count))[:, None, None]
    blob = np.exp(-((row - y) ** 2 + (column - x) ** 2) / rng.uniform(2, 6, count)[:, None, None])
    noise = rng.uniform(0, 0.2, (count, size, size))
    pixels = (np.clip(0.75 * blob + noise, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels[..., None], channels, axis=3), labels.astype(np.uint8)[:, None]


def npz(path, **options):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in SIZES.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images(count, rng, **options)
    np.savez(path, **arrays)
    return path


def plan(path, **tables):
    """Return the tables of a plan on the data at ``path``; a table given replaces keys, lists replace lists."""
    made = copy.deepcopy(PLAN)
    made["data"]["name"] = str(path)
    for name, value in tables.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) and name in made else value
    return made


def tables(run):
    """Return every table of a run folder but for the time that each cell took."""
    cells, scores, utility = (pd.read_parquet(run / f"{name}.parquet") for name in ("cells", "scores", "utility"))
    return cells.drop(columns="seconds"), scores, utility


def same(run, other):
    for one, two in zip(tables(run), tables(other), strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)
