"""The client of a federation: its recipe, its one simulator, and where defences hook in."""

from leakward.federated.aggregation import group_update as group_update
from leakward.federated.agreement import agreed_recipe as agreed_recipe
from leakward.federated.chain import Chain as Chain
from leakward.federated.client import ClientResult as ClientResult
from leakward.federated.client import client_round as client_round
from leakward.federated.client import client_update as client_update
from leakward.federated.defense import Defense as Defense
from leakward.federated.defense import Evidence as Evidence
from leakward.federated.defense import Guarantee as Guarantee
from leakward.federated.defense import NoDefense as NoDefense
from leakward.federated.defense import Objective as Objective
from leakward.federated.defense import Step as Step
from leakward.federated.recipe import LocalTraining as LocalTraining
from leakward.federated.recipe import Share as Share
from leakward.federated.reply import Reply as Reply
from leakward.federated.rounds import Round as Round
from leakward.federated.rounds import run_round as run_round
from leakward.federated.sampling import Sample as Sample
from leakward.federated.sampling import draw_sample as draw_sample
from leakward.federated.sampling import poisson_sample as poisson_sample
from leakward.federated.sampling import proven as proven
from leakward.federated.update import Update as Update
