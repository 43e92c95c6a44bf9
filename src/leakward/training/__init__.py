"""Federated training of the real thing, on Flower: many clients, rounds, any strategy, the defence at the client."""

from leakward.training.privacy import ClientPrivacy as ClientPrivacy
from leakward.training.privacy import client_privacy as client_privacy
from leakward.training.results import TrainingResult as TrainingResult
from leakward.training.settings import DataSettings as DataSettings
from leakward.training.settings import FederationSettings as FederationSettings
from leakward.training.settings import Job as Job
from leakward.training.settings import ModelSettings as ModelSettings
