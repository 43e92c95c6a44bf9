"""What a defence proves for the images of each client of a federation, after all rounds of a job.

Clients differ in how many images they have, hence in the share of them that a round sees, and in the rounds that they
are asked to train in. A client that is asked and lost counts as one that sent its message. Whom the server asks is no
secret of the clients, and lowers no epsilon.
"""

from dataclasses import dataclass

from leakward.data import Dataset
from leakward.federated import Guarantee, proven
from leakward.training import sites
from leakward.training.settings import Job


@dataclass(frozen=True)
class ClientPrivacy:
    """One client of a job.

    Attributes:
        client: Its number, from 0.
        images: That it has.
        agreed: Images of a round; with Poisson sampling their expected number.
        rounds: That it is asked to train in.
        guarantee: For each of its images, or None.
    """

    client: int
    images: int
    agreed: int
    rounds: int
    guarantee: Guarantee | None


def client_privacy(data: Dataset, job: Job, delta: float) -> tuple[ClientPrivacy, ...]:
    """Return what is proven for every client, in their order.

    Args:
        data: All of it, as the job names it.
        job: As it is trained.
        delta: In (0, 1).

    Raises:
        ModelError: If the network does not fit the images.
        DefenseError: If the defence does not fit the network.
    """
    task, _ = sites.start(data, job)
    asked = [client for number in range(1, job.federation.rounds + 1) for client in sites.chosen(job, number)]
    found: list[ClientPrivacy] = []
    for client, share in enumerate(sites.shares(data, job.data)):
        images, rounds = len(share), asked.count(client)
        recipe = job.recipe_of(client, images)
        guarantee = proven(task, recipe, job.defense, images, rounds, delta)
        found.append(ClientPrivacy(client, images, recipe.batch_images, rounds, guarantee))
    return tuple(found)
