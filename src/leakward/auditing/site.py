"""The site under audit: its private images, the public ones, and the agreed task."""

import hashlib
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.auditing.possible import require_trainable
from leakward.auditing.tables import Plan
from leakward.data import Dataset
from leakward.errors import DataError
from leakward.federated import Round, run_round
from leakward.federated.defense import Defense
from leakward.models import Task, build_task, initial_state
from leakward.streams import stream
from leakward.training import DataSettings, sites
from leakward.types import Batch, Tensors


@dataclass(frozen=True, eq=False)
class Site:
    """Everything an audit takes its images from.

    Attributes:
        data: The site's share of the training split as ``train``; ``val`` is public, ``test`` is for utility.
        task: Agreed by the federation.
        gallery: The images among which reconstructions are identified, all different.
        gallery_labels: Their classes.
        fingerprint: Of every pixel and label, and of which of them are the site's.
        trained: That which names trainings: by a federation it is the same for each of its clients.
        device: Where the arithmetic runs.
    """

    data: Dataset
    task: Task
    gallery: Float[Tensor, "g c h w"]
    gallery_labels: Int[Tensor, " g"]
    fingerprint: str
    trained: str
    device: torch.device

    @property
    def mean_image(self) -> Float[Tensor, "c h w"]:
        """Return the mean of the public images: the guess that needs no attack."""
        return self.data.subset("val")[0].mean(0)

    def initial_state(self, seed: int) -> Tensors:
        """Return the weights every cell of this seed starts from, before any defence."""
        state = initial_state(self.task, stream("weights", seed))
        return {name: value.to(self.device) for name, value in state.items()}

    def start(self, defense: Defense, seed: int) -> tuple[Task, Tensors]:
        """Return the network that is trained with ``defense``, and the weights every cell of this seed starts from."""
        return sites.install(defense, self.task, self.initial_state(seed), seed)

    def victims(self, plan: Plan, defense: Defense, seed: int) -> Int[Tensor, "v b"]:
        """Return which images of the gallery are attacked: one row per update.

        Row by row, the images of a smaller update are the first of a larger one: whatever a defence makes of the number
        of images, it meets every image that the undefended client sends, in the same update, and others beside it.
        """
        size = plan.images_per_update(defense)
        order = torch.randperm(len(self.gallery), generator=stream("victims", seed))
        return order[: plan.audit.victims * size].view(size, -1).T

    def public(self, most: int) -> Batch | None:
        """Return up to ``most`` of the public images with their labels, or None where there are to be none."""
        images, labels = self.data.subset("val")
        return Batch(images[:most].to(self.device), labels[:most].to(self.device)) if most else None

    def rounds(
        self, plan: Plan, defense: Defense, seed: int, task: Task, state: Tensors, private: Tensors | None
    ) -> list[Round]:
        """Let the client send one update for every victim.

        Args:
            plan: Of the audit.
            defense: Of the client, fitted.
            seed: Of the victims.
            task: Network that the server sent.
            state: Its weights, likewise.
            private: The defence's helpers as the client has kept them; None if it has not trained yet.
        """
        made: list[Round] = []
        recipe, clients = plan.agreed(defense), plan.audit.aggregated_clients
        for number, index in enumerate(self.victims(plan, defense, seed)):
            batch = Batch(self.gallery[index].to(self.device), self.gallery_labels[index].to(self.device))
            rng = stream("client", repr(defense), seed, number)
            made.append(run_round(task, state, batch, recipe, defense, rng, clients, private))
        return made


def open_site(plan: Plan, device: torch.device) -> Site:
    """Load the data of a plan and build its task.

    Raises:
        DataError: If the site has fewer different images than the plan needs.
        DefenseError: If it has too few for a defence to train on.
        ModelError: If the network does not fit the images.
    """
    source, data = plan.data, site_data(plan.data, plan.audit.client)
    gallery = _different(data, source.site_images)
    needed = max(2, *(plan.audit.victims * plan.images_per_update(defense) for defense in plan.defenses))
    if len(gallery) < needed:
        raise DataError(
            f"data {data.name!r}: expected at least {needed} different images at the site for {plan.audit.victims} "
            f"victims, got {len(gallery)}; lower victims or batch_images"
        )
    trained = len(data.splits["train"])
    for defense in plan.defenses:
        require_trainable(plan, defense, min(trained, plan.utility.train_images or trained))
    for split, purpose in (("val", "public ones, for the negative control"), ("test", "ones to measure accuracy on")):
        if len(data.splits[split]) == 0:
            raise DataError(f"data {data.name!r}: expected images in the split {split} ({purpose}), got none; add some")
    own = fingerprint(data)
    return Site(
        data,
        build_task(sites.task_spec(data, plan.model)),
        data.images[gallery],
        data.labels[gallery],
        own,
        own if plan.federation is None else fingerprint(site_data(plan.data)),
        device,
    )


def site_data(settings: DataSettings, client: int = 0) -> Dataset:
    """Return the data set with the share of a client as its training split.

    Raises:
        DataError: If it cannot be loaded or divided.
    """
    whole = sites.load(settings)
    return replace(whole, splits={**whole.splits, "train": sites.shares(whole, settings)[client]})


def fingerprint(data: Dataset) -> str:
    """Return a hash of every pixel, label and split."""
    parts = (data.images, data.labels, *(data.splits[name] for name in sorted(data.splits)))
    found = hashlib.sha256()
    for part in parts:
        found.update(str(tuple(part.shape)).encode())
        found.update(part.contiguous().numpy().tobytes())
    return found.hexdigest()


def _different(data: Dataset, most: int) -> Int[Tensor, " g"]:
    """Return up to ``most`` of the site's images, no two alike, in a fixed random order."""
    index = data.splits["train"]
    index = index[torch.randperm(len(index), generator=stream("gallery"))]
    chosen: dict[bytes, int] = {}
    for i in index.tolist():
        chosen.setdefault(data.images[i].numpy().tobytes(), i)
        if len(chosen) == most:
            break
    return torch.tensor(list(chosen.values()), dtype=torch.long)
