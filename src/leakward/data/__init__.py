"""Labelled images to audit: where they come from, and how clients share them."""

from leakward.data.dataset import Dataset as Dataset
from leakward.data.load import load_data as load_data
from leakward.data.partition import dirichlet as dirichlet
from leakward.data.partition import iid as iid
from leakward.data.partition import sized as sized
