"""Read an app, a job or a site, and hold every rule against it."""

from collections.abc import Iterator
from pathlib import Path

from leakward.errors import LeakwardError
from leakward.linting.files import Unread, read_folder
from leakward.linting.finding import Finding, Rule, Subject
from leakward.linting.flare import FlareJob
from leakward.linting.flare_files import read_apps, read_site
from leakward.linting.flare_script import read_scripts
from leakward.linting.flower import read_flower
from leakward.linting.rules import RULES
from leakward.linting.sources import read_sources

NOT_READ = "not-read"
"""The rule of files that were left out."""
REASON = "Nothing can be said of a file that is not read, and the engine may still use it."
CURE = "Put a plain, small file in its place that Python or the engine can read."


def lint(path: Path) -> tuple[Finding, ...]:
    """Return the known traps of a Flower app, a FLARE job or a FLARE site, problems first.

    Nothing of what is read is imported or run.

    Args:
        path: Folder of the app, of the job (exported, or with the script that makes it), or of the site (its workspace
            or the ``local`` folder in it); or one Python file of an app or a job.

    Raises:
        LeakwardError: If it is none of these.
    """
    subjects, unread = _read(path)
    found = [_unread(each) for each in unread]
    found += [finding for rule in RULES for subject in subjects for finding in _findings(rule, subject)]
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.level, each.path, each.line)))


def _read(path: Path) -> tuple[list[Subject], list[Unread]]:
    folder = read_folder(path)
    sources, unparsed = read_sources(folder)
    flower, of_flower = read_flower(folder, sources)
    apps, of_apps = read_apps(folder, sources)
    site, of_site = read_site(folder, sources)
    chains = apps + read_scripts(sources)
    uses = any(name.startswith("nvflare.") for source in sources for name in source.imported.values())
    job = FlareJob(sources, chains) if chains or (uses and site is None) else None
    subjects = [subject for subject in (flower, job, site) if subject is not None]
    unread = [*folder.unread, *unparsed, *of_flower, *of_apps, *of_site]
    if not subjects and not any(each.code for each in unread):
        raise LeakwardError(
            f"{path}: expected a Flower app, a FLARE job or the workspace of a FLARE client, got none of them; "
            "name the folder with pyproject.toml, meta.json or local"
        )
    return subjects, unread


def _findings(rule: Rule, subject: Subject) -> Iterator[Finding]:
    for each in rule.check(subject):
        yield Finding(rule.name, each.level, each.place.path, each.place.line, each.words, rule.reason, rule.cure)


def _unread(each: Unread) -> Finding:
    level = "problem" if each.code else "remark"
    return Finding(NOT_READ, level, each.place.path, each.place.line, each.why, REASON, CURE)
