"""Read a finished run folder, or say in one sentence what is wrong with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from leakward.errors import LeakwardError
from leakward.report.schema import PlanFile, Prediction, Summary

Content = TypeVar("Content", PlanFile, Prediction, Summary)

SCORES = ("cell", "victim", "metric", "value")

REMEDY = "run leakward audit with this folder as --out to finish it"


@dataclass(frozen=True, eq=False)
class Pictures:
    """What one cell recovered beside what was there.

    Attributes:
        originals: The private images, (v c h w) in 0 .. 255.
        reconstructions: One per image; all black where the attack failed.
    """

    originals: np.ndarray
    reconstructions: np.ndarray


@dataclass(frozen=True, eq=False)
class Run:
    """Everything a report needs.

    Attributes:
        folder: Where the run lies.
        plan: The resolved plan and the facts of the run.
        summary: Verdict, tables and controls.
        scores: One row per cell, victim and metric.
        prediction: Of the time it would take; None if nobody asked for one of this plan.
    """

    folder: Path
    plan: PlanFile
    summary: Summary
    scores: pd.DataFrame
    prediction: Prediction | None = None

    def pictures(self, cell: str) -> Pictures | None:
        """Return the images of a cell, or none where the audit ran without images.

        Raises:
            LeakwardError: If the file is broken.
        """
        path = self.folder / "parts" / cell / "images.safetensors"
        if not path.is_file():
            return None
        try:
            arrays = load_file(path)
        except (SafetensorError, OSError) as error:
            raise LeakwardError(f"{path}: expected a safetensors file, got {error}; {REMEDY}") from error
        found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        pair = [arrays.get("originals"), arrays.get("reconstructions")]
        if not all(array is not None and array.ndim == 4 and array.dtype == np.uint8 for array in pair) or (
            len({found["originals"], found["reconstructions"]}) != 1
        ):
            raise LeakwardError(
                f"{path}: expected originals and reconstructions (v c h w) of bytes and of one shape, "
                f"got {found}; {REMEDY}"
            )
        return Pictures(arrays["originals"], arrays["reconstructions"])


def read_run(folder: Path) -> Run:
    """Read and check the files of a run.

    Args:
        folder: What ``leakward audit`` wrote.

    Raises:
        LeakwardError: If a file is missing or broken.
    """
    plan = _read_json(folder / "plan.json", PlanFile)
    return Run(
        folder,
        plan,
        _read_json(folder / "summary.json", Summary),
        _read_scores(folder / "scores.parquet"),
        _read_prediction(folder / "estimate.json", plan),
    )


def require_success(run: Run) -> None:
    """Raise ``LeakwardError`` unless an attack succeeded without a defence: otherwise finding nothing says nothing."""
    control = run.summary.controls.positive
    if control.passed is not True:
        raise LeakwardError(
            f"run {run.folder}: expected an attack that succeeds without a defence, without which what it does not "
            f"find says nothing, got: {control.finding} Audit with stronger attacks"
        )


def _read_json(path: Path, kind: type[Content]) -> Content:
    """Return the checked content of a JSON file."""
    _require(path)
    try:
        return TypeAdapter(kind).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise LeakwardError(f"{path}: expected the files of a leakward audit, got {problems}; {REMEDY}") from error
    except ValueError as error:
        raise LeakwardError(f"{path}: expected JSON, got {error}; {REMEDY}") from error


def _read_prediction(path: Path, plan: PlanFile) -> Prediction | None:
    """Return what was predicted, if it was, for this very plan."""
    found = _read_json(path, Prediction) if path.is_file() else None
    return found if found is not None and found.plan == plan.plan else None


def _read_scores(path: Path) -> pd.DataFrame:
    """Return the scores of every victim."""
    _require(path)
    try:
        scores = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise LeakwardError(f"{path}: expected a Parquet table, got {error}; {REMEDY}") from error
    if missing := set(SCORES) - set(scores.columns):
        raise LeakwardError(f"{path}: expected the columns {', '.join(SCORES)}, got none of {missing}; {REMEDY}")
    return scores.loc[:, list(SCORES)]


def _require(path: Path) -> None:
    """Raise unless ``path`` is a file."""
    if not path.is_file():
        raise LeakwardError(f"{path}: expected the file of a finished audit, got nothing there; {REMEDY}")
