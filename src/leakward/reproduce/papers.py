"""The papers that can be reproduced, by name."""

from collections.abc import Mapping

from leakward.reproduce.learnable_perturbation import LearnablePerturbationPaper
from leakward.reproduce.medpfl import MedPFLPaper
from leakward.reproduce.paper import Paper
from leakward.reproduce.shadow import ShadowPaper

PAPERS: Mapping[str, Paper] = {
    paper.name: paper for paper in (LearnablePerturbationPaper(), MedPFLPaper(), ShadowPaper())
}
