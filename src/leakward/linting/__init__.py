"""Known privacy traps of Flower apps, FLARE jobs and FLARE sites, found by reading their files and running none."""

from leakward.linting.finding import Finding as Finding
from leakward.linting.lint import lint as lint
from leakward.linting.rules import RULES as RULES
