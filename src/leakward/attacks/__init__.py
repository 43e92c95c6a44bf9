"""Attacks, one paper per file. They see observations and never the truth."""

from leakward.attacks.analytic_linear import AnalyticLinear as AnalyticLinear
from leakward.attacks.attack import Attack as Attack
from leakward.attacks.attack import Reconstruction as Reconstruction
from leakward.attacks.cpl import CPL as CPL
from leakward.attacks.dlg import DLG as DLG
from leakward.attacks.idlg import IDLG as IDLG
from leakward.attacks.inverting_gradients import InvertingGradients as InvertingGradients
from leakward.attacks.solvers import Status as Status
