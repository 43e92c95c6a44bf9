"""Taking the gradient of a batch apart by what ReLU makes zero: the mathematics of SPEAR (arXiv:2403.03945).

With b images, m units and n pixels, columns of ``X`` (n b) for images and of ``dL/dZ`` (m b) for what each image does,

    dL/dW = dL/dZ X^T = L R,    dL/dZ = L Q,    X^T = Q^-1 R.

``L`` (m b) and ``R`` (b n) come from the singular value decomposition; the disaggregation matrix ``Q`` (b b) is what is
missing. Wherever the same b - 1 entries of column i of ``dL/dZ`` are zero, column i of ``Q`` is orthogonal to those
rows of ``L``, and so known up to its length, which ``dL/db = dL/dZ 1 = L Q 1`` gives.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leakward.attacks.searching.matching import TINY

DEPENDENT = 1e-3
"""Unit vectors of which one has a smaller part than this outside the span of the others are taken to be dependent."""
ESSENTIAL = 1 - 1e-6
"""Leverage from which on a direction hangs on a single one of the rows it makes zero."""
SAME = 1e-6
"""Two directions are one if the cosine between them is closer to 1 than this."""
AGREED = 0.999
"""Agreement from which on the directions are taken to be right."""
FEW, MANY = 500, 8000
"""Least and most submatrices drawn at once."""
ROUGH = 10.0
"""Slack for a direction that rests on the rows drawn alone."""
POOL = 256
"""Directions that are kept to choose from."""


@dataclass(frozen=True, eq=False)
class Factors:
    """``dL/dW = left right``, and all that a choice of directions is judged by.

    Attributes:
        left: L, with orthonormal columns.
        right: R.
        bias: dL/db in the basis of ``left``.
        responses: W R^T, which turns directions into what the units are fed.
        offset: The biases of the layer.
        noise: Standard deviation of the entries of the noisiest column of ``left``.
        tolerance: Share of the largest entry of a column of dL/dZ below which others count as zero.
    """

    left: Float[Tensor, "m b"]
    right: Float[Tensor, "b n"]
    bias: Float[Tensor, " b"]
    responses: Float[Tensor, "m b"]
    offset: Float[Tensor, " m"]
    noise: float
    tolerance: float

    @property
    def alive(self) -> Bool[Tensor, " m"]:
        """Return which units some image passes."""
        length = self.left.norm(dim=1)
        return length > max(self.tolerance * float(length.max()), 4 * self.noise * self.left.shape[1] ** 0.5)

    def zero(self, directions: Float[Tensor, "*s b"], slack: float = 1.0) -> Bool[Tensor, "*s m"]:
        """Return which entries of ``L q`` count as zero; ``slack`` times larger ones do where ``q`` is still rough."""
        size = (directions @ self.left.T).abs()
        return size <= slack * (self.tolerance * size.amax(-1, keepdim=True)).clamp_min(4 * self.noise)

    def scaled(self, directions: Float[Tensor, "*s f b"]) -> tuple[Float[Tensor, "*s f b"], Float[Tensor, "*s f b"]]:
        """Return the columns of ``Q`` and the rows of ``Q^-1``; of fewer than b directions, the pseudo-inverse."""
        inverse = torch.linalg.pinv(directions.mT)
        lengths = (inverse @ self.bias)[..., None]
        lengths = torch.where(lengths.abs() < TINY, TINY, lengths)
        return directions * lengths, inverse / lengths

    def agreement(self, directions: Float[Tensor, "*s b b"]) -> Float[Tensor, "*s"]:
        """Return lambda: the share of units and images where dL/dZ is zero exactly where ReLU lets nothing pass.

        It is 0 for directions that are not independent.
        """
        fed = self.scaled(directions)[1] @ self.responses.T + self.offset
        independent = torch.linalg.svdvals(directions).amin(-1) > DEPENDENT
        return independent * ((fed > 0) != self.zero(directions)).double().mean((-1, -2))


def factorise(
    gradient: Float[Tensor, "m n"],
    bias_gradient: Float[Tensor, " m"],
    weight: Float[Tensor, "m n"],
    bias: Float[Tensor, " m"],
    images: int,
    tolerance: float,
) -> Factors:
    """Return the factors of a batch's gradient.

    Their rank is ``images``, or less where the images, or what they do, depend on each other. The singular values
    beyond it say how noisy the message is.
    """
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    rank = min(images, int((values > 1e-6 * values[0]).sum()))
    spare = max((gradient.shape[0] - rank) * (gradient.shape[1] - rank), 1)
    noise = float((values[rank:].square().sum() / spare).sqrt() / values[: max(rank, 1)].min().clamp_min(TINY))
    left, right = left[:, :rank], values[:rank, None] * right[:rank]
    return Factors(left, right, left.T @ bias_gradient, weight @ right.T, bias, noise, tolerance)


def disaggregate(factors: Factors, most: int, rng: torch.Generator) -> tuple[Float[Tensor, "f b"], int]:
    """Return directions of ``Q``, as many as were found up to b, and how many submatrices were drawn for them.

    Args:
        factors: Of the gradient.
        most: Submatrices to draw at most; fewer where the directions agree with what ReLU lets pass.
        rng: For the draws.
    """
    rank = factors.left.shape[1]
    if rank == 1:
        return torch.ones(1, 1, dtype=factors.left.dtype), 0
    pool, chosen, best, drawn = factors.left[:0], factors.left[:0], -1.0, 0
    while drawn < most:
        count = min(max(FEW, drawn), MANY, most - drawn)
        known, drawn = pool, drawn + count
        pool = _sparsest(factors, torch.cat([known, draw(factors, count, rng)]))
        if torch.equal(pool, known):
            continue
        found = choose(factors, pool)
        score = float(factors.agreement(found)) if len(found) == rank else 0.0
        if score >= best:
            chosen, best = found, score
        if best >= AGREED:
            break
    return chosen, drawn


def draw(factors: Factors, count: int, rng: torch.Generator) -> Float[Tensor, "c b"]:
    """Return the directions that survive of ``count`` random submatrices of b - 1 rows.

    One survives if it makes at least two more rows zero than were drawn, and would be the same without any single one
    of them; it is then fitted to all the rows it makes zero.
    """
    rows, rank = factors.left[factors.alive], factors.left.shape[1]
    if len(rows) < rank:
        return rows[:0]
    chosen = torch.rand(count, len(rows), generator=rng, dtype=rows.dtype).topk(rank - 1).indices
    unit = rows / rows.norm(dim=1, keepdim=True)
    orthogonal, triangle = torch.linalg.qr(unit[chosen].mT, mode="complete")
    single = triangle.diagonal(dim1=-2, dim2=-1).abs().amin(-1) > DEPENDENT
    directions = orthogonal[single, :, -1]
    for slack in (ROUGH, 1.0):
        zero = factors.zero(directions, slack)[:, factors.alive]
        zero = zero[zero.sum(1) > rank].to(rows)
        directions = _moments(rows, zero)[1][~_hangs(unit, zero), :, 0]
    return directions


def _hangs(unit: Float[Tensor, "r b"], zero: Float[Tensor, "c r"]) -> Bool[Tensor, " c"]:
    """Return whether the rows that are zero would leave more than one direction without one of them."""
    values, vectors = _moments(unit, zero)
    leverage = (unit @ vectors[:, :, 1:]).square() / values[:, None, 1:].clamp_min(TINY)
    return (zero * leverage.sum(2)).amax(1) > ESSENTIAL


def _moments(rows: Float[Tensor, "r b"], zero: Float[Tensor, "c r"]) -> tuple[Float[Tensor, "c b"], Tensor]:
    """Return eigenvalues and eigenvectors of the second moments of the rows that are zero, the smallest first."""
    return torch.linalg.eigh(torch.einsum("cr,ri,rj->cij", zero, rows, rows))


def _sparsest(factors: Factors, directions: Float[Tensor, "c b"]) -> Float[Tensor, "d b"]:
    """Return directions that differ, those first that make most of dL/dZ zero."""
    order = factors.zero(directions).sum(1).argsort(descending=True, stable=True)
    directions = directions[order]
    same = (directions @ directions.T).abs() > 1 - SAME
    return directions[~same.triu(1).any(0)][:POOL]


def choose(factors: Factors, pool: Float[Tensor, "c b"]) -> Float[Tensor, "f b"]:
    """Return b directions of a pool: the first independent ones, greedily exchanged while the agreement grows.

    Fewer than b, unexchanged, if the pool has no more that are independent.
    """
    chosen = pool[_independent(pool)]
    if len(chosen) < chosen.shape[1]:
        return chosen
    best = factors.agreement(chosen)
    while True:
        trials = chosen.repeat(len(chosen), len(pool), 1, 1)
        for place in range(len(chosen)):
            trials[place, :, place] = pool
        scores = torch.stack([factors.agreement(trial) for trial in trials])
        if scores.max() <= best:
            return chosen
        best, chosen = scores.max(), trials.flatten(0, 1)[scores.argmax()]


def _independent(pool: Float[Tensor, "c b"]) -> list[int]:
    """Return the first directions that are no combinations of others before them."""
    rest, chosen = pool.clone(), list[int]()
    while len(chosen) < pool.shape[1] and bool((left := rest.norm(dim=1) > DEPENDENT).any()):
        first = int(left.double().argmax())
        axis = rest[first] / rest[first].norm()
        rest -= (rest @ axis)[:, None] * axis
        chosen.append(first)
    return chosen
