"""Train a case on the real engine, in a process of its own: Ray leaves files open, for which pytest would blame others.

    python on_engine.py CASE DATA

writes scores, traffic and weights of each job as JSON, or the error.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace

import tiny_job

from leakward.errors import LeakwardError
from leakward.federated import Defense
from leakward.training.engine import train


@dataclass(frozen=True)
class Dying(Defense):
    """Takes the whole process of a client with it whose share has so many images."""

    images: int = 6

    def on_recipe(self, recipe):
        if recipe.batch_images == self.images:
            os._exit(1)
        return recipe


def two(data):
    return tiny_job.job(data, clients=2, timeout=300.0), tiny_job.job(data, clients=2, seed=1, timeout=300.0)


def dying(data):
    return (replace(tiny_job.job(data, clients=7, timeout=300.0), defense=Dying()),)


def refused(data):
    return (tiny_job.job(data, strategy="FedProx", settings={"proximal_mu": 0.1}, timeout=300.0),)


def main(case, data):
    jobs = {"two": two, "dying": dying, "refused": refused}[case](data)
    results, heard = {}, []
    try:
        train(jobs, results.__setitem__, lambda *news: heard.append(news))
    except LeakwardError as error:
        return {"error": str(error)}
    return {"heard": heard, "jobs": [told(results[n]) for n in range(len(jobs))]}


def told(result):
    state = {name: value.tolist() for name, value in result.state.items()}
    return {"rounds": [asdict(done) for done in result.rounds], "state": state}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
