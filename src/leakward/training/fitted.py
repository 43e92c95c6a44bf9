"""A defence as a client has fitted it, in the records that Flower keeps for the client from round to round."""

import json
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from leakward.errors import LeakwardError
from leakward.federated import Chain, Defense
from leakward.federated.chain import parts_of
from leakward.settings import parse, plain_fields, tensor_fields
from leakward.training.records import unpack


def remember(kept: RecordDict, name: str, defense: Defense) -> None:
    """Write a fitted defence to ``kept`` under ``name``: settings, which fitting may change, and tensors."""
    parts = parts_of(defense)
    kept[f"{name}/settings"] = ConfigRecord({"parts": json.dumps([plain_fields(part) for part in parts])})
    for number, part in enumerate(parts):
        kept[f"{name}/{number}"] = ArrayRecord({**tensor_fields(part)})


def recall(kept: RecordDict, name: str, agreed: Defense) -> Defense | None:
    """Return what was remembered of the ``agreed`` defence, or None if nothing was.

    Raises:
        LeakwardError: If what is there is of another defence.
    """
    if f"{name}/settings" not in kept.config_records:
        return None
    settings = json.loads(str(kept.config_records[f"{name}/settings"]["parts"]))
    made: list[Defense] = []
    for number, (part, table) in enumerate(zip(parts_of(agreed), settings, strict=True)):
        fitted, problems = parse(type(part), table, "fitted defence")
        if fitted is None:
            raise LeakwardError("; ".join(problems))
        own: Any = fitted
        made.append(replace(own, **unpack(kept.array_records[f"{name}/{number}"])))
    return Chain(tuple(made)) if isinstance(agreed, Chain) else made[0]
