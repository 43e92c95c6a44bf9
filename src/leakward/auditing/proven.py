"""What is proven for the clients of a federated training: a part of the run folder, as it can take long to compute.

It follows from the plan and the sizes of the clients' shares alone, so that no training has to be repeated for it.
"""

from dataclasses import asdict
from typing import Any

from leakward.auditing.cell import privacy_id
from leakward.auditing.store import Store
from leakward.federated import Guarantee
from leakward.training import ClientPrivacy, Job, client_privacy, sites

PRIVACY = "privacy.json"


def proven_clients(store: Store, part: str, job: Job, delta: float) -> list[ClientPrivacy]:
    """Return the clients for whom the job's defence proves something, in their order.

    Args:
        store: Of the run folder.
        part: Of the training.
        job: That it was.
        delta: In (0, 1).
    """
    if not job.defense.poisson:
        return []
    own = privacy_id(part, delta)
    if not store.has(own, PRIVACY):
        found = client_privacy(sites.load(job.data), job, delta)
        with store.new_part(own) as folder:
            Store.dump(folder / PRIVACY, {"clients": [asdict(client) for client in found]})
    clients = map(_client, store.read_json(own, PRIVACY)["clients"])
    return [client for client in clients if client.guarantee]


def _client(table: dict[str, Any]) -> ClientPrivacy:
    kept = table.pop("guarantee")
    guarantee = kept and Guarantee(**kept | {"curve": tuple(map(tuple, kept["curve"]))})
    return ClientPrivacy(**table, guarantee=guarantee)
