"""From tables to ``summary.json``: what others read, and the report shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch

from leakward import __version__
from leakward.auditing.cell import MALICIOUS
from leakward.auditing.controls import consistency, negative, positive
from leakward.auditing.site import Site
from leakward.auditing.tables import Plan
from leakward.auditing.verdict import Tally, Verdict, judge, with_controls
from leakward.federated import Defense
from leakward.metrics import METRICS, Summary, summarise
from leakward.parts import label

SCHEMA = 1
Rows = Sequence[Mapping[str, Any]]
MEANINGS = {
    "unaware": "The server knows of no defence and replays the undefended client; what papers usually report.",
    "aware": "The server knows which defence is on and its public settings, not its random draws or private helpers.",
    "oracle": "The server is also given the random draws of the client: a diagnostic, not an attacker to expect.",
    MALICIOUS: "The server breaks the protocol: it sends out a model made to reveal images, and knows the defence.",
}


def summarise_run(
    plan: Plan, site: Site, cells: Rows, scores: Rows, utility: Rows, checks: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """Return the summary of a run.

    Args:
        plan: That was run.
        site: It was run on.
        cells: Rows of ``cells.parquet``.
        scores: Rows of ``scores.parquet``.
        utility: Rows of ``utility.parquet``.
        checks: Name, outcome and finding of every check of an undefended observation.
    """
    frame = _frame(plan, cells, scores)
    chance = 1 / len(site.gallery)
    named = {label("defenses", defense): defense for defense in plan.defenses}
    levels = {name: _levels(plan, frame, name) for name in named}
    alone = {name: judge(_tally(plan, site, frame, named[name], level)) for name, level in levels.items()}
    consistent = consistency(checks)
    verdicts = {name: with_controls(v, alone["none"], consistent["passed"]) for name, v in alone.items()}
    return {
        "schema": SCHEMA,
        "leakward": __version__,
        "verdict": _overall(verdicts, frame, levels, chance),
        "defenses": [_defense(plan, name, verdicts[name], levels[name], utility) for name in levels],
        "cells": [_cell(plan, row, frame) for row in cells],
        "utility": _final(utility),
        "controls": {
            "positive": positive(alone["none"]),
            "negative": negative(site, plan, frame, chance),
            "consistency": consistent,
        },
        "threat": {
            "levels": [{"level": level, "meaning": MEANINGS[level]} for level in _asked_levels(plan)],
            "labels": plan.audit.labels,
            "public_images": min(plan.audit.public_images, len(site.data.splits["val"])),
            "aggregated_clients": plan.audit.aggregated_clients,
        },
        "limits": _limits(plan, site),
    }


def _frame(plan: Plan, cells: Rows, scores: Rows) -> pd.DataFrame:
    """Return one row per score with the factors of its cell, and the update that its image came from.

    A malicious server is a level of its own, whatever it knows of the defence: verdicts are on servers that follow the
    protocol.
    """
    factors = pd.DataFrame(list(cells)).rename(columns={"id": "cell"}).drop(columns="members")
    factors["knowledge"] = factors["knowledge"].mask(factors["server"] == MALICIOUS, MALICIOUS)
    frame = pd.DataFrame(list(scores), columns=["cell", "victim", "metric", "value"]).merge(factors, on="cell")
    frame["group"] = frame["seed"].astype(str) + "/" + (frame["victim"] % plan.audit.victims).astype(str)
    return frame


def _asked_levels(plan: Plan) -> list[str]:
    active = any(attack.active for attack in plan.attacks)
    return [*plan.audit.knowledge, *([MALICIOUS] if active else [])]


def _levels(plan: Plan, frame: pd.DataFrame, defense: str) -> dict[str, dict[str, Summary]]:
    """Return each measure's worst case per image over attacks, by level of knowledge."""
    own = frame[frame["defense"] == defense]
    found: dict[str, dict[str, Summary]] = {}
    for level, rows in own.groupby("knowledge"):
        found[str(level)] = {}
        for metric, values in rows.groupby("metric"):
            best = "max" if METRICS[str(metric)].leaks_more == "higher" else "min"
            worst = values.groupby(["group", "seed", "victim"])["value"].agg(best).reset_index()
            found[str(level)][str(metric)] = _summary(plan, worst, str(metric))
    return found


def _tally(
    plan: Plan, site: Site, frame: pd.DataFrame, defense: Defense, levels: Mapping[str, Mapping[str, Summary]]
) -> Tally:
    """Return what all attacks together found of one defence, at the aware level."""
    name = label("defenses", defense)
    own = frame[(frame["defense"] == name) & (frame["knowledge"] == "aware") & (frame["metric"] == "rank")]
    best: Any = own.groupby("group")["value"].min()
    return Tally(
        summaries=levels.get("aware", {}),
        updates=plan.audit.victims * len(plan.audit.seeds),
        places=tuple(int(place) for place in best),
        images=plan.images_per_update(defense),
        gallery=len(site.gallery),
        attacks=sum(not attack.active for attack in plan.attacks) * len(plan.audit.after_rounds),
    )


def _summary(plan: Plan, rows: pd.DataFrame, metric: str) -> Summary:
    groups = torch.tensor(pd.factorize(rows["group"])[0].tolist())
    values = torch.tensor(rows["value"].tolist(), dtype=torch.float64)
    return summarise(values, groups, METRICS[metric], level=plan.audit.confidence)


def _plain(summary: Summary) -> dict[str, float | None]:
    values = {key: asdict(summary)[key] for key in ("mean", "low", "high", "worst")}
    return {key: None if v is None or not math.isfinite(v) else round(v, 6) for key, v in values.items()}


def _overall(
    verdicts: Mapping[str, Verdict],
    frame: pd.DataFrame,
    levels: Mapping[str, Mapping[str, Mapping[str, Summary]]],
    chance: float,
) -> dict[str, Any]:
    """Return the verdict on what was asked: the defences of the plan, or the undefended client if there are none."""
    asked = {name: v for name, v in verdicts.items() if name != "none"} or dict(verdicts)
    order = ("leaks", "inconclusive", "no leak found")
    worst = min(asked, key=lambda name: (order.index(asked[name].status), -_mean(levels[name])))
    verdict = asked[worst]
    place = "Without a defence" if worst == "none" else f"With {worst}, against an attacker who knows it"
    return {
        "status": verdict.status,
        "reason": f"{place}: {verdict.reason}",
        "worst": _worst(frame, levels[worst], worst, chance),
    }


def _mean(level: Mapping[str, Mapping[str, Summary]]) -> float:
    return level["aware"]["identified"].mean if level.get("aware") else 0.0


def _worst(
    frame: pd.DataFrame, level: Mapping[str, Mapping[str, Summary]], defense: str, chance: float
) -> dict[str, Any]:
    own = frame[(frame["defense"] == defense) & (frame["knowledge"] == "aware") & (frame["metric"] == "identified")]
    if own.empty:
        return {}
    means: Any = own.groupby(["cell", "attack"], sort=False)["value"].mean()
    cell, attack = means.idxmax()
    found = level["aware"]["identified"]
    return {
        "cell": cell,
        "defense": defense,
        "attack": attack,
        "metric": "identified",
        "value": round(found.mean, 6),
        "low": found.low,
        "high": found.high,
        "victims": found.count,
        "chance": chance,
    }


def _defense(
    plan: Plan, name: str, verdict: Verdict, levels: Mapping[str, Mapping[str, Summary]], utility: Rows
) -> dict[str, Any]:
    last = next((row for row in _final(utility) if row["defense"] == name), {})
    own = (row for row in utility if row["defense"] == name)
    proven = max(own, key=lambda row: row.get("epsilon") or 0.0, default=dict[str, Any]())
    images = max((summary.count for level in levels.values() for summary in level.values()), default=0)
    return {
        "defense": name,
        "name": name.partition("(")[0],
        "verdict": asdict(verdict),
        "levels": {level: {m: _plain(s) for m, s in found.items()} for level, found in levels.items()},
        "victims": images,
        "updates": plan.audit.victims * len(plan.audit.seeds),
        "diverged": last.get("diverged", False),
        "accuracy": last.get("accuracy"),
        "f1_macro": last.get("f1_macro"),
        "epsilon": proven.get("epsilon"),
        "delta": proven.get("delta"),
        "accountant": proven.get("accountant"),
        "identified_bound": proven.get("identified_bound"),
    }


def _cell(plan: Plan, row: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    own: Any = frame[frame["cell"] == row["id"]]
    metrics = {str(m): _plain(_summary(plan, values, str(m))) for m, values in own.groupby("metric")}
    return dict(row) | {"metrics": metrics}


def _final(utility: Rows) -> list[dict[str, Any]]:
    """Return each defence's last epoch, averaged over seeds; without scores if the training of any diverged."""
    if not utility:
        return []
    last = [row for row in utility if row["round"] == row["rounds"]]
    of = {row["defense"]: [one for one in last if one["defense"] == row["defense"]] for row in last}
    return [
        {
            "defense": name,
            **{score: _mean_score(rows, score) for score in ("accuracy", "f1_macro", "auc")},
            "rounds": max(row["rounds"] for row in rows),
            "clients": rows[0]["clients"],
            "diverged": any("accuracy" not in row for row in rows),
        }
        for name, rows in of.items()
    ]


def _mean_score(rows: Rows, score: str) -> float | None:
    """Return the mean of a score, or None if a row lacks it."""
    values = [row[score] for row in rows if score in row]
    return round(sum(values) / len(values), 6) if len(values) == len(rows) else None


def _limits(plan: Plan, site: Site) -> list[str]:
    attacks = ", ".join(label("attacks", attack) for attack in plan.attacks)
    updates = plan.audit.victims * len(plan.audit.seeds)
    counts = sorted({updates * plan.images_per_update(defense) for defense in plan.defenses})
    images = f"{counts[0]} images" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} images"
    active = any(attack.active for attack in plan.attacks)
    limits = [
        f"Only the attacks named here were run ({attacks}); a stronger one may find more.",
        f"Every rate rests on {images} of one data set, {site.data.name}; the intervals say how far it carries.",
        _when(plan),
        "Verdicts are on a server that follows the protocol." + ("" if active else " A malicious one was not tried."),
        _trained(plan),
    ]
    if plan.data.name == "phantom":
        limits.append("The images are drawn by a program; audit your own before you decide anything.")
    return limits


def _when(plan: Plan) -> str:
    unit = "epochs" if plan.federation is None else "rounds"
    later = ", ".join(str(number) for number in sorted(plan.audit.after_rounds) if number)
    times = ["at its random start, before any training"] if 0 in plan.audit.after_rounds else []
    times += [f"after {later} {unit}"] if later else []
    return f"The network was attacked {' and '.join(times)}."


def _trained(plan: Plan) -> str:
    if plan.federation is None:
        return "Utility is that of one site training alone."
    return f"Utility is that of {plan.data.clients} clients training together for {plan.federation.rounds} rounds."
