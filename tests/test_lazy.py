"""Importing Leakward costs nothing until something heavy is used."""

import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "pandas",
    "plotly",
    "pydantic",
    "numpy",
    "monai",
    "pyarrow",
    "scipy",
    "PIL",
    "safetensors",
    "opacus",
    "flwr",
    "ray",
)
LIGHT = ("cli", "registry", "errors", "linting")
TELEMETRY = ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED")


def python(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in TELEMETRY}
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("module", ["leakward", *(f"leakward.{name}" for name in LIGHT)])
def test_nothing_heavy_is_imported(module):
    heavy = python(f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))")
    assert heavy == []


def test_a_client_of_an_engine_imports_nothing_that_takes_seconds():
    """Flower starts a process for every message."""
    pytest.importorskip("flwr")
    slow = ("opacus", "scipy", "pandas", "torchmetrics", "monai", "plotly")
    code = f"import sys, leakward.integrations.flower; print(*(m for m in {slow!r} if m in sys.modules))"
    assert python(code) == []


def test_nothing_phones_home_unless_it_was_asked_to():
    code = f"import os, leakward; print(*(os.environ[name] for name in {TELEMETRY!r}))"
    assert python(code) == ["0", "0"]
    assert python(code, FLWR_TELEMETRY_ENABLED="1") == ["1", "0"]


def test_public_names():
    import leakward
    from leakward.auditing import audit, make_plan, read_plan
    from leakward.federated import client_update
    from leakward.threat import observe

    assert leakward.audit is audit
    assert leakward.client_update is client_update
    assert leakward.observe is observe
    assert leakward.make_plan is make_plan
    assert leakward.read_plan is read_plan
    assert leakward.attacks.InvertingGradients(iterations=7).iterations == 7
    assert leakward.defenses.LearnablePerturbation(std=0.5).std == 0.5
    with pytest.raises(AttributeError, match="module 'leakward' has no attribute 'attack'"):
        _ = leakward.attack
    with pytest.raises(AttributeError, match=r"module 'leakward.attacks' has no attribute 'GaussianNoise'"):
        _ = leakward.attacks.GaussianNoise
