"""The rules, each a trap with its reason and its cure, in the order of the documentation."""

from leakward.linting.finding import Rule
from leakward.linting.rules.epsilon_per_round import EPSILON_PER_ROUND
from leakward.linting.rules.idle_filters import IDLE_FILTER, NEVER_RUNS
from leakward.linting.rules.mods import APP_WIDE, MOD_ORDER, NOBODY_CLIPS
from leakward.linting.rules.noise_formula import NOISE_FORMULA
from leakward.linting.rules.open_filters import OPEN_FILTER
from leakward.linting.rules.opt_in import FILTERS_OPT_IN, MODS_OPT_IN, SITE_FILTERS_NOTHING
from leakward.linting.rules.seeded_noise import SEEDED_NOISE
from leakward.linting.rules.sensitivity import SENSITIVITY
from leakward.linting.rules.step_counters import STEP_COUNTERS
from leakward.linting.rules.unsafe_settings import UNSAFE_SETTINGS
from leakward.linting.rules.whole_weights import SVT_RELEASE, WHOLE_WEIGHTS

RULES: tuple[Rule, ...] = (
    STEP_COUNTERS,
    SENSITIVITY,
    NOISE_FORMULA,
    MOD_ORDER,
    APP_WIDE,
    NOBODY_CLIPS,
    WHOLE_WEIGHTS,
    SVT_RELEASE,
    IDLE_FILTER,
    OPEN_FILTER,
    NEVER_RUNS,
    EPSILON_PER_ROUND,
    SEEDED_NOISE,
    UNSAFE_SETTINGS,
    MODS_OPT_IN,
    FILTERS_OPT_IN,
    SITE_FILTERS_NOTHING,
)
