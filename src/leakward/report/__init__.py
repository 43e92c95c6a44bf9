"""Results to one page: reads a finished run folder and never runs anything."""

from leakward.report.leaderboard import update_leaderboard
from leakward.report.page import build_report
from leakward.report.recommend import recommend

__all__ = ["build_report", "recommend", "update_leaderboard"]
