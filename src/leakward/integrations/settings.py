"""A chosen defence, written out as what Flower and NVIDIA FLARE are configured with."""

import json
from collections.abc import Mapping
from typing import Any

import tomli_w

from leakward.defenses import FlarePercentile, FlareSVT, FlowerAdaptiveClipping, FlowerFixedClipping, FlowerLocalDP
from leakward.defenses.engines.entry_filter import EntryFilter
from leakward.errors import DefenseError
from leakward.federated import Defense, LocalTraining
from leakward.federated.chain import parts_of
from leakward.integrations.message_level import SETTING, require_message_level
from leakward.parts import plain_part
from leakward.settings import plain_fields

OURS = {"transfer", "count_steps", "counters"}
"""Fields of engines' filters that say how a client of the engine behaves, and are not the filter's."""
TRANSFERS = {
    "full": "whole weights, as FLARE's recipes do (params_transfer_type = FULL)",
    "diff": "the change of their weights (params_transfer_type = DIFF)",
}
FLARE_FILTERS: Mapping[type[Defense], str] = {
    FlarePercentile: "nvflare.app_common.filters.percentile_privacy.PercentilePrivacy",
    FlareSVT: "nvflare.app_common.filters.svt_privacy.SVTPrivacy",
}
FLOWER_MODS: Mapping[type[Defense], str] = {
    FlowerFixedClipping: "fixedclipping_mod",
    FlowerAdaptiveClipping: "adaptiveclipping_mod",
}
FLOWER_STRATEGIES: Mapping[type[Defense], str] = {
    FlowerFixedClipping: "DifferentialPrivacyClientSideFixedClipping(strategy, noise_multiplier=..., "
    "clipping_norm={clipping_norm}, num_sampled_clients=...)",
    FlowerAdaptiveClipping: "DifferentialPrivacyClientSideAdaptiveClipping(strategy, noise_multiplier=..., "
    "num_sampled_clients=..., initial_clipping_norm={clipping_norm})",
}


def written_out(defense: Defense, recipe: LocalTraining) -> dict[str, str]:
    """Return the settings, or why there are none, by where they belong.

    Args:
        defense: That an audit has found good enough.
        recipe: Of that audit.
    """
    found = {"Plan of Leakward": plan_settings(defense)}
    for engine, settings in (("Flower", flower_settings), ("NVIDIA FLARE", flare_settings)):
        try:
            found[engine] = settings(defense, recipe)
        except DefenseError as error:
            found[engine] = f"None: {error}"
    return found


def plan_settings(defense: Defense) -> str:
    """Return the table of a plan."""
    return tomli_w.dumps({"defense": [plain_part("defenses", defense)]}).strip()


def flower_settings(defense: Defense, recipe: LocalTraining) -> str:
    """Return what to write into a Flower app, in the words of a person who does.

    Raises:
        DefenseError: If Flower cannot be given this defence, or the audit says nothing of what Flower sends.
    """
    require_update(recipe)
    if isinstance(defense, FlowerLocalDP) or type(defense) in FLOWER_MODS:
        return _flower_own(defense)
    require_message_level(defense)
    table = json.dumps(plain_part("defenses", defense))
    return "\n".join(
        [
            "# pyproject.toml of the app, or --node-config of a site's supernode, which counts",
            tomli_w.dumps({"tool": {"flwr": {"app": {"config": {SETTING: table}}}}}).strip(),
            "",
            "# the client app",
            "from leakward.integrations.flower import defense_mod",
            "",
            "@app.train(mods=[defense_mod])",
        ]
    )


def flare_settings(defense: Defense, recipe: LocalTraining) -> str:
    """Return what to write into a job's client configuration of FLARE; a site's own ``privacy.json`` has another form.

    Raises:
        DefenseError: If FLARE cannot be given this defence, or the audit says nothing of what FLARE sends.
    """
    require_update(recipe)
    filters = [_flare_filter(part) for part in parts_of(defense)]
    found: dict[str, Any] = {"task_result_filters": [{"tasks": ["train"], "filters": filters}]}
    if any(one["path"].startswith("leakward.") for one in filters):
        keeper = {"path": "leakward.integrations.nvflare.SentModelFilter", "args": {}}
        found["task_data_filters"] = [{"tasks": ["train"], "filters": [keeper]}]
    kinds = {part.transfer for part in parts_of(defense) if isinstance(part, EntryFilter)}
    said = "\n".join(f"Clients have to send {TRANSFERS[kind]}." for kind in sorted(kinds))
    return f"{said}\n{json.dumps(found, indent=2)}".strip()


def require_update(recipe: LocalTraining) -> None:
    """Raise ``DefenseError`` if what was audited is not what engines send."""
    if recipe.share != "update":
        raise DefenseError(
            "settings for an engine: expected an audit of changes of weights, which engines send, got one of "
            "gradients, of another size; audit with --set recipe.share=update"
        )


def _flower_own(defense: Defense) -> str:
    """Return how Flower's own mod is switched on; where the server sends the bound, its strategy too."""
    own = _own_settings(defense)
    if isinstance(defense, FlowerLocalDP):
        settings = ", ".join(f"{name}={value!r}" for name, value in own.items())
        return _flower_client("LocalDpMod", f"LocalDpMod({settings})")
    mod, strategy = FLOWER_MODS[type(defense)], FLOWER_STRATEGIES[type(defense)].format(**own)
    kind = strategy.partition("(")[0]
    server = ["# the server app, around its strategy", f"from flwr.serverapp.strategy import {kind}", strategy]
    return "\n".join([_flower_client(mod, mod), "", *server])


def _flower_client(mod: str, made: str) -> str:
    return f"# the client app\nfrom flwr.clientapp.mod import {mod}\n\n@app.train(mods=[{made}])"


def _flare_filter(part: Defense) -> dict[str, Any]:
    if type(part) in FLARE_FILTERS:
        return {"path": FLARE_FILTERS[type(part)], "args": _own_settings(part)}
    require_message_level(part)
    return {"path": "leakward.integrations.nvflare.DefenseFilter", "args": {"defense": plain_part("defenses", part)}}


def _own_settings(part: Defense) -> dict[str, Any]:
    return {name: value for name, value in plain_fields(part).items() if name not in OURS}
