"""Three clients under Flower's secure aggregation, in a process of its own, for Ray leaves files open.

    python secure_aggregation.py FOLDER

The sites' files are ``FOLDER/0.toml`` and so on. What each client was sent and made of it is written to
``FOLDER/clients``, what the server received to ``FOLDER/server``.
"""

import sys
from pathlib import Path

import numpy as np
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from leakward.integrations.flower import site_mod
from leakward.models import TaskSpec, build_task, initial_state
from leakward.types import generator

TASK = TaskSpec("mlp", (1, 12, 12), 2, {"hidden": 8})
ROUNDS, IMAGES = 2, 2


class Site(NumPyClient):
    """Adds noise of its own to what it is sent."""

    def __init__(self, folder, part):
        self.folder, self.part = folder, part

    def fit(self, parameters, config):
        number = config["server_round"]
        rng = np.random.default_rng(10 * number + self.part)
        trained = [value + rng.normal(scale=0.1, size=value.shape).astype(value.dtype) for value in parameters]
        for name, tensors in (("before", parameters), ("after", trained)):
            np.savez(self.folder / f"{name}-{self.part}-{number}.npz", *tensors)
        return trained, IMAGES, {}


def client_app(folder):
    def placed(message, context, call_next):
        """Stand in for the configuration of nodes, which simulations do not have."""
        context.node_config["leakward-site"] = str(folder / f"{context.node_config['partition-id']}.toml")
        return call_next(message, context)

    def client_fn(context: Context):
        return Site(folder / "clients", int(context.node_config["partition-id"])).to_client()

    return ClientApp(client_fn=client_fn, mods=[secaggplus_mod, placed, site_mod])


def server_app(folder):
    app = ServerApp()

    @app.main()
    def main(grid, context):
        ask = grid.send_and_receive

        def watched(messages, **options):
            replies = [*ask(messages, **options)]
            for reply in replies:
                keep(reply)
            return replies

        def keep(reply):
            name = f"{reply.metadata.group_id}-{reply.metadata.src_node_id}"
            if reply.has_error():
                (folder / "server" / f"{name}.error").write_text(reply.error.reason, encoding="utf-8")
            elif reply.content.array_records:
                named = [*reply.content.array_records.values()]
                masked = reply.content.config_records["secaggplus_configs"]["masked_params"]
                vectors = [bytes_to_ndarray(one) for one in masked]
                np.savez(folder / "server" / f"{name}.npz", *vectors, named=len(named[0]))

        grid.send_and_receive = watched
        strategy = FedAvg(
            fraction_evaluate=0.0,
            on_fit_config_fn=lambda number: {"server_round": number},
            initial_parameters=ndarrays_to_parameters([value.numpy() for value in START.values()]),
        )
        legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=ROUNDS), strategy=strategy)
        DefaultWorkflow(fit_workflow=SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2, max_weight=4.0))(
            grid, legacy
        )

    return app


START = initial_state(build_task(TASK), generator(0))

if __name__ == "__main__":
    place = Path(sys.argv[1])
    for kind in ("clients", "server"):
        (place / kind).mkdir()
    backend = {"init_args": {"num_cpus": 2}, "client_resources": {"num_cpus": 1}}
    run_simulation(server_app(place), client_app(place), 3, backend_config=backend)
