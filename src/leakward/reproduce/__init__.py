"""The three papers again: their experiments as plans, their figures beside ours, and every difference."""

from leakward.reproduce.paper import Paper as Paper
from leakward.reproduce.paper import Scale as Scale
from leakward.reproduce.papers import PAPERS as PAPERS
from leakward.reproduce.running import reproduce as reproduce
from leakward.reproduce.running import write_page as write_page
