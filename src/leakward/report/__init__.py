"""Results to one page: reads a finished run folder and never runs anything."""

from leakward.report.page import build_report

__all__ = ["build_report"]
