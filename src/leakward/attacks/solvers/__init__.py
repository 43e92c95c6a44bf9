"""Solvers: many victims and restarts in one vectorised run."""

from leakward.attacks.solvers.adam import Adam as Adam
from leakward.attacks.solvers.lbfgs import LBFGS as LBFGS
from leakward.attacks.solvers.problem import Coupling as Coupling
from leakward.attacks.solvers.problem import Draws as Draws
from leakward.attacks.solvers.problem import Problem as Problem
from leakward.attacks.solvers.problem import Progress as Progress
from leakward.attacks.solvers.problem import Solution as Solution
from leakward.attacks.solvers.problem import Status as Status
from leakward.attacks.solvers.problem import span as span
