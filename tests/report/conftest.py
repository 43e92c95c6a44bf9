"""A finished run folder with synthetic images only."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

VICTIMS = 8
GALLERY = 256

# defence, accuracy, epsilon, and per knowledge level how much of the image comes back
DEFENSES: dict[str, tuple[float | None, float | None, dict[str, float]]] = {
    "none": (0.912, None, {"aware": 0.95}),
    "gaussian-noise(std=0.01)": (0.871, None, {"unaware": 0.45, "aware": 0.7}),
    "pruning(ratio=0.9)": (0.894, None, {"unaware": 0.6, "aware": 0.82}),
    "learnable-perturbation(dimension=64, weight=0.1)": (0.885, None, {"unaware": 0.05, "aware": 0.6, "oracle": 0.85}),
    "dp-sgd(clip=1.0, noise_multiplier=1.1)": (0.743, 3.2, {"unaware": 0.03, "aware": 0.08}),
}
ATTACKS = ("inverting-gradients", "dlg")

Edit = Callable[[dict[str, Any], dict[str, Any]], None]
RunFactory = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> RunFactory:
    """Write a run folder: ``make_run(edit=..., images=False)``; ``edit`` changes summary and plan in place."""

    def make(edit: Edit = lambda summary, plan: None, *, images: bool = True, folder: str = "run") -> Path:
        run = tmp_path / folder
        run.mkdir()
        cells = list(_cells())
        scores = pd.concat([_write_cell(run, cell, images=images) for cell in cells], ignore_index=True)
        summary, plan = _summary(cells, scores), _plan()
        edit(summary, plan)
        (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        (run / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        scores.to_parquet(run / "scores.parquet")
        return run

    return make


def _cells() -> Iterator[dict[str, Any]]:
    for defense, (_, _, levels) in DEFENSES.items():
        for level, strength in levels.items():
            for attack in ATTACKS:
                yield {
                    "id": f"c{len(defense):02d}{level}{attack}",
                    "data": "phantom",
                    "model": "convnet(width=16)",
                    "attack": attack,
                    "defense": defense,
                    "knowledge": level,
                    "recipe": "1 epoch, batch 1, SGD",
                    "seed": 0,
                    "status": "ok",
                    "victims": VICTIMS,
                    "seconds": 41.3,
                    "strength": strength * (1.0 if attack == "inverting-gradients" else 0.8),
                }


def _cell_images(size: int = 28) -> np.ndarray:
    """Draw round cells with a darker nucleus on a pale ground."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:size, :size] / size
    images = []
    for _ in range(VICTIMS):
        y, x, radius = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.38)
        far = np.hypot(row - y, column - x)
        body = 1 / (1 + np.exp((far - radius) * 40))
        lobe = np.hypot(row - y - rng.uniform(-0.1, 0.1), column - x - rng.uniform(-0.1, 0.1))
        nucleus = 1 / (1 + np.exp((lobe - radius * rng.uniform(0.4, 0.7)) * 45))
        colour = np.array([0.95, 0.9, 0.88])[:, None, None] - body * np.array([0.2, 0.35, 0.1])[:, None, None]
        images.append(colour - nucleus * np.array([0.45, 0.4, 0.15])[:, None, None])
    return np.clip(np.stack(images), 0, 1)


def _write_cell(run: Path, cell: dict[str, Any], *, images: bool) -> pd.DataFrame:
    strength = cell.pop("strength")
    rng = np.random.default_rng(len(cell["id"]))
    truth = _cell_images()
    noise = rng.uniform(0, 1, truth.shape)
    guess = strength * truth + (1 - strength) * noise
    failed = 5 if cell["attack"] == "dlg" else None
    if cell["knowledge"] == "unaware":
        failed = 5
    rows = []
    for victim in range(VICTIMS):
        if victim == failed:
            guess[victim] = 0
            continue
        ssim = float(np.clip(strength + rng.normal(0, 0.08) - 0.1, -0.1, 0.98))
        rank = 1 if ssim > 0.5 else int(rng.integers(2, GALLERY))
        values = {"identified": float(rank == 1), "rank": float(rank), "ssim_gain": ssim - 0.38, "ssim": ssim}
        values |= {"psnr": 12 + 14 * ssim, "psnr_gain": 14 * ssim - 5, "mse": 10 ** -(1.2 + 1.4 * ssim)}
        rows += [(cell["id"], victim, name, value) for name, value in values.items()]
    if images:
        folder = run / "parts" / cell["id"]
        folder.mkdir(parents=True)
        pixels = {"originals": truth, "reconstructions": guess}
        contiguous = {name: np.ascontiguousarray((255 * array).astype(np.uint8)) for name, array in pixels.items()}
        save_file(contiguous, folder / "images.safetensors")
    scores = pd.DataFrame(rows, columns=["cell", "victim", "metric", "value"])
    cell["metrics"] = _estimates(scores)
    return scores


def _estimates(scores: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name, values in scores.groupby("metric")["value"]:
        half = 1.96 * values.std() / np.sqrt(len(values))
        mean, worst = values.mean(), values.min() if name in ("rank", "mse") else values.max()
        low, high = mean - half, mean + half
        if name == "identified":
            low, high = (max(0.0, low - 0.2 * (half == 0)), min(1.0, high + 0.2 * (half == 0)))
        found[name] = {"mean": mean, "low": low, "high": high, "worst": worst}
    return found


def _summary(cells: list[dict[str, Any]], scores: pd.DataFrame) -> dict[str, Any]:
    defenses = []
    for defense, (accuracy, epsilon, levels) in DEFENSES.items():
        strongest = {
            level: _estimates(scores[scores["cell"] == f"c{len(defense):02d}{level}inverting-gradients"])
            for level in levels
        }
        leaks = strongest["aware"]["identified"]["mean"] > 0.2
        reason = "an aware attacker singles out private images far above chance."
        verdict = {
            "status": "leaks" if leaks else "no leak found",
            "reason": f"Here {reason}" if leaks else "No attack beat chance; 8 images bound the rate at 31 %.",
        }
        defenses.append(
            {"defense": defense, "name": defense.partition("(")[0], "verdict": verdict, "levels": strongest}
            | {"victims": VICTIMS, "updates": VICTIMS, "accuracy": accuracy, "f1_macro": accuracy}
            | {"epsilon": epsilon, "delta": 1e-5 if epsilon else None, "accountant": "RDP" if epsilon else None}
        )
    worst = {"cell": "c", "defense": "pruning(ratio=0.9)", "attack": "inverting-gradients", "metric": "identified"}
    return {
        "schema": 1,
        "leakward": "0.1.0",
        "verdict": {
            "status": "leaks",
            "reason": "An attacker who knows the defence identifies 8 of 8 private images from single updates.",
            "worst": worst | {"value": 1.0, "low": 0.63, "high": 1.0, "victims": 8, "chance": 1 / GALLERY},
        },
        "defenses": defenses,
        "cells": cells,
        "utility": [
            {"defense": defense, "accuracy": accuracy, "f1_macro": accuracy, "rounds": 20, "clients": 4}
            for defense, (accuracy, _, _) in DEFENSES.items()
        ],
        "controls": {
            "positive": {"passed": True, "finding": "Without a defence 8 of 8 images were identified."},
            "negative": {
                "passed": True,
                "finding": "The public mean image identifies none of 8 images.",
                "mean_image": {"psnr": 17.0, "ssim": 0.38},
                "chance": 1 / GALLERY,
            },
            "consistency": {
                "passed": True,
                "finding": "The captured updates follow from the recorded weights and settings.",
                "checks": [
                    {"name": "names and shapes", "passed": True, "finding": "22 tensors match the model."},
                    {"name": "replay", "passed": None, "finding": "Left out: dropout is random."},
                ],
            },
        },
        "threat": {
            "knowledge": [
                {"level": "unaware", "meaning": "Does not know that a defence is used."},
                {"level": "aware", "meaning": "Knows which defence and its settings, not its random numbers."},
                {"level": "oracle", "meaning": "Is also given the random numbers; a diagnostic, not a real attacker."},
            ],
            "labels": "inferred",
        },
        "limits": ["One round of training was audited.", "Eight images give wide intervals."],
    }


def _plan() -> dict[str, Any]:
    data = {"name": "phantom", "licence": "CC0-1.0", "citation": "The Leakward developers, procedural smear, 2025"}
    data |= {"classes": ["round", "lobed"], "shape": [3, 28, 28], "site_images": GALLERY, "public_images": 200}
    facts = {"leakward": "0.1.0", "python": "3.13.5", "torch": "2.13.0", "platform": "Linux x86_64", "cores": 2}
    facts |= {
        "device": "cpu",
        "data": data,
        "started": "2025-11-21T08:00:00+00:00",
        "finished": "2025-11-21T08:12:30+00:00",
    }
    plan = {
        "data": {"name": "phantom", "path": "/home/hospital/ward-7/doe_jane.npz"},
        "model": {"name": "convnet", "width": 16},
        "recipe": {"batch_size": 1, "learning_rate": 0.1},
        "audit": {"victims": VICTIMS, "seeds": [0]},
        "attack": [{"name": name} for name in ATTACKS],
        "defense": [{"name": defense.partition("(")[0]} for defense in DEFENSES],
    }
    return {"plan": plan, "facts": facts}
