"""Leakward: what would the updates your site sends reveal about its images, what stops it, and what does that cost?

Heavy parts are imported when first used, so that ``leakward --help`` answers at once.
"""

import os
from typing import TYPE_CHECKING, Any

from leakward.lazy import member

if TYPE_CHECKING:
    from leakward import attacks as attacks
    from leakward import defenses as defenses
    from leakward.auditing import Plan as Plan
    from leakward.auditing import audit as audit
    from leakward.auditing import make_plan as make_plan
    from leakward.auditing import read_plan as read_plan
    from leakward.federated import client_update as client_update
    from leakward.threat import observe as observe

__version__ = "0.1.0"

_LAZY = {
    "attacks": "leakward.attacks",
    "defenses": "leakward.defenses",
    "Plan": "leakward.auditing:Plan",
    "audit": "leakward.auditing:audit",
    "make_plan": "leakward.auditing:make_plan",
    "read_plan": "leakward.auditing:read_plan",
    "client_update": "leakward.federated:client_update",
    "observe": "leakward.threat:observe",
}

# Nothing phones home unless the user asked for it.
for _name, _off in (("FLWR_TELEMETRY_ENABLED", "0"), ("RAY_USAGE_STATS_ENABLED", "0")):
    os.environ.setdefault(_name, _off)


def __getattr__(name: str) -> Any:
    return member(__name__, _LAZY, name)
