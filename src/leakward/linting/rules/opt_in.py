"""Protection that whoever writes the app or the job can leave out."""

from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flare import FlareJob, FlareSite
from leakward.linting.flower import FlowerApp
from leakward.linting.rules.parts import is_defence
from leakward.linting.values import last


def check_flower(subject: Subject) -> Iterator[Found]:
    """Find the first mod that defends."""
    for mod in subject.mods() if isinstance(subject, FlowerApp) else ():
        if is_defence(mod):
            yield Found("remark", mod.place, f"{last(mod.name)} is a choice of the app")
            return


def check_job(subject: Subject) -> Iterator[Found]:
    """Find the first filter of a job."""
    for chain in subject.chains if isinstance(subject, FlareJob) else ():
        for each in chain.results:
            yield Found("remark", each.made.place, f"{last(each.made.name)} is a choice of the job")
            return


def check_site(subject: Subject) -> Iterator[Found]:
    """Find sites, and scopes of sites, that filter nothing."""
    if not isinstance(subject, FlareSite):
        return
    if subject.chains is None:
        yield Found("problem", subject.place, f"the site has no {subject.place.path.name}")
    elif not subject.chains:
        yield Found("problem", subject.place, f"{subject.place.path.name} has no scopes")
    for chain in subject.chains or ():
        if all(each.disabled for each in chain.results):
            jobs = "jobs that name none" if chain.name == subject.default else "any job that names it"
            yield Found("problem", chain.place, f"scope {chain.name!r}, for {jobs}, has no task_result_filters")


MODS_OPT_IN = Rule(
    "mods-are-opt-in",
    "Mods stand in the app that the researcher uploads, and a supernode has none of its own. Whoever changes the app "
    "can leave them out.",
    "Run apps alone that you have reviewed: flower-supernode --trusted-entities takes those signed by keys that you "
    "list. What defense_mod of Leakward does, the site sets by --node-config leakward-defense.",
    check_flower,
)
FILTERS_OPT_IN = Rule(
    "filters-are-opt-in",
    "Filters of a job are written by whoever submits it, and can be left out.",
    "Let the site set its own in local/privacy.json; they run before those of a job, and for all of its tasks.",
    check_job,
)
SITE_FILTERS_NOTHING = Rule(
    "site-filters-nothing",
    "Without filters of its own a site sends what a job makes. A job may name any scope in its meta.json, and gets "
    "default_scope if it names none.",
    "Give every scope of local/privacy.json task_result_filters, a plain list of entries with path and args; name a "
    "default_scope.",
    check_site,
)
