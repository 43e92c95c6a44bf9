"""Attacks, one paper per file. They see observations and never the truth.

Each is imported when it is first used: some need libraries that take seconds to import.
"""

from typing import TYPE_CHECKING, Any

from leakward import registry
from leakward.attacks.attack import Attack as Attack
from leakward.attacks.reconstruction import Reconstruction as Reconstruction
from leakward.attacks.solvers import Status as Status

if TYPE_CHECKING:
    from leakward.attacks.analytic_linear import AnalyticLinear as AnalyticLinear
    from leakward.attacks.cpl import CPL as CPL
    from leakward.attacks.curious_abandon_honesty import CuriousAbandonHonesty as CuriousAbandonHonesty
    from leakward.attacks.dlg import DLG as DLG
    from leakward.attacks.ensemble import Ensemble as Ensemble
    from leakward.attacks.fedavg_inversion import FedAvgInversion as FedAvgInversion
    from leakward.attacks.fishing import Fishing as Fishing
    from leakward.attacks.fl_gradient_inversion import FLGradientInversion as FLGradientInversion
    from leakward.attacks.gaussian_prior import GaussianPrior as GaussianPrior
    from leakward.attacks.ggl import GGL as GGL
    from leakward.attacks.gias import GIAS as GIAS
    from leakward.attacks.gifd import GIFD as GIFD
    from leakward.attacks.gradinversion import GradInversion as GradInversion
    from leakward.attacks.idlg import IDLG as IDLG
    from leakward.attacks.inverting_gradients import InvertingGradients as InvertingGradients
    from leakward.attacks.learning_to_invert import LearningToInvert as LearningToInvert
    from leakward.attacks.r_gap import RGAP as RGAP
    from leakward.attacks.robbing_the_fed import RobbingTheFed as RobbingTheFed
    from leakward.attacks.spear import SPEAR as SPEAR


def __getattr__(name: str) -> Any:
    return registry.member("attacks", name)
