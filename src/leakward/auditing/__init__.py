"""The audit: plan, engine, controls, results."""

from leakward.auditing.engine import audit as audit
from leakward.auditing.estimate import estimate as estimate
from leakward.auditing.plan import Plan as Plan
from leakward.auditing.plan import make_plan as make_plan
from leakward.auditing.plan import quick_plan as quick_plan
from leakward.auditing.plan import read_plan as read_plan
