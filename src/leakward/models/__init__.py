"""Networks, one architecture per file, and the ``Task`` they make."""

from leakward.models.build import build_task as build_task
from leakward.models.build import initial_state as initial_state
from leakward.models.latent import LatentNoise as LatentNoise
from leakward.models.task import Mode as Mode
from leakward.models.task import SplitModel as SplitModel
from leakward.models.task import Task as Task
from leakward.models.task import TaskSpec as TaskSpec
