"""The gate's judgement of one update, in a process of its own, so that it can be stopped at any moment.

    python -m leakward.live.judging CAPTURE PRIVATE GATE

reads a capture, the private batch behind it and the gate's table as JSON, and prints the decision as JSON. First comes
the control: the same client without a defence has to give images away to the same attack, or it is too weak to judge.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from leakward.attacks import Attack
from leakward.errors import LeakwardError
from leakward.federated import NoDefense, run_round
from leakward.live.gate import Decision
from leakward.live.private import PrivateBatch, load_private_batch
from leakward.live.scoring import shown
from leakward.live.settings import Gate
from leakward.parts import read_parts
from leakward.settings import parse
from leakward.streams import stream
from leakward.threat import Observation, examine, load_capture, observe

LEVEL = 0.05
"""Most that chance may explain of one identified image."""


def decide(observation: Observation, private: PrivateBatch, gate: Gate) -> Decision:
    """Return whether an update may leave.

    Args:
        observation: What the server would hold.
        private: Images behind it, and others of the site.
        gate: Of the site.
    """
    broken = _inconsistent(observation)
    if broken is not None:
        return Decision(False, f"the update does not belong to what came: {broken}", None)
    images = len(private.batch)
    needed = round(images**2 / LEVEL)
    if images + len(private.others) < needed:
        reason = f"expected at least {needed} images of the site, to tell an attack on {images} from chance"
        return Decision(False, f"{reason}; hand over more", None)
    attack = read_parts("attacks", [gate.attack], "[gate] attack", [])[0]
    undefended = _share(attack, _without_defense(observation, private), private)
    share = _share(attack, observation, private)
    if share is None or undefended is None:
        return Decision(False, "the attack does not apply to this update, or met numbers that are not finite", None)
    if share > gate.max_identified:
        return Decision(
            False, f"the attack identified {share:.0%} of the images, above {gate.max_identified:.0%}", share
        )
    if not undefended:
        reason = "the attack finds nothing without a defence either, so that it says nothing of this update"
        return Decision(gate.inconclusive == "send", reason, share)
    return Decision(True, f"the attack identified {share:.0%} of the images, without a defence {undefended:.0%}", share)


def _inconsistent(observation: Observation) -> str | None:
    """Return the first finding against the update; noise of a defence hides what the class biases tell of the loss."""
    failed = [check for check in examine(observation) if check.passed is False and check.name != "loss"]
    return failed[0].finding if failed else None


def _without_defense(seen: Observation, private: PrivateBatch) -> Observation:
    control = stream("gate", "control")
    return observe(run_round(seen.task, seen.state, private.batch, seen.recipe, NoDefense(), control), seen.threat)


def _share(attack: Attack, observation: Observation, private: PrivateBatch) -> float | None:
    """Return which share of the images an attack identifies among those of the site; None where it has no answer."""
    threat = replace(observation.threat, public=True)
    found = attack.recover([replace(observation, threat=threat, public=private.others)], stream("gate", "attack"))[0]
    if found.images is None:
        return None
    return shown(found.images, private).identified


def main(capture: str, private: str, table: str) -> None:
    """Print the decision on a capture."""
    gate, problems = parse(Gate, json.loads(table), "[gate]")
    if gate is None:
        raise LeakwardError("; ".join(problems))
    decision = decide(load_capture(Path(capture)), load_private_batch(Path(private)), gate)
    print(json.dumps(asdict(decision)))


if __name__ == "__main__":
    main(*sys.argv[1:])
