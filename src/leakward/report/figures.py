"""The leakage-utility plot."""

from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from plotly import graph_objects as go
from plotly.io import to_html

from leakward.metrics import METRICS
from leakward.report.format import interval, measure, percent
from leakward.report.schema import DefenseResult, Estimate, Summary
from leakward.report.tables import NO_DEFENSE, defense_title, level_title

COLOURS = ("#1b2a38", "#0b6fa4", "#b5480a", "#00795c", "#8d3a7c", "#7a5c00", "#4b55b8", "#9c2f3f")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
INK = "#33424f"
GRID = "#e3e8ec"


@dataclass(frozen=True)
class Axes:
    """What the plot shows.

    Attributes:
        metric: The leakage on the vertical axis.
        accuracy: Whether accuracy is the horizontal axis, without defences whose training diverged; else the defences
            stand side by side.
    """

    metric: str
    accuracy: bool


def plot_axes(summary: Summary) -> Axes | None:
    """Return what can be plotted: the headline metric where it was measured, or nothing."""
    levels = [level for result in summary.defenses for level in result.levels.values()]
    for metric in ("identified", "ssim_gain", "ssim"):
        if any(level.get(metric, Estimate()).mean is not None for level in levels):
            trained = [result for result in summary.defenses if not result.diverged]
            return Axes(metric, bool(trained) and all(result.accuracy is not None for result in trained))
    return None


def leakage_plot(summary: Summary, axes: Axes) -> str:
    """Return the plot as a part of a page, with the whole of Plotly inside: nothing is fetched."""
    figure = go.Figure()
    for place, result in enumerate(summary.defenses):
        if axes.accuracy and result.diverged:
            continue
        for trace in _traces(result, place, axes):
            figure.add_trace(trace)
    chance = summary.controls.negative.chance if axes.metric == "identified" else 0.0
    if axes.metric != "ssim" and chance is not None:
        figure.add_hline(y=chance, line={"color": "#a3262a", "width": 1.5, "dash": "dash"})
        figure.add_annotation(_chance_label(axes.metric, chance))
    figure.update_layout(_layout(axes))
    config = {"displayModeBar": False, "responsive": True, "scrollZoom": False}
    return to_html(figure, config=config, include_plotlyjs=True, full_html=False, div_id="leakage-plot")


def _traces(result: DefenseResult, place: int, axes: Axes) -> list[go.Scatter]:
    """Return the line from the unaware to the aware attacker and its two ends, under one legend entry."""
    label = _label(result.defense)
    where = result.accuracy if axes.accuracy else label
    points = {
        level: result.levels[level][axes.metric]
        for level in ("unaware", "aware")
        if result.levels.get(level, {}).get(axes.metric, Estimate()).mean is not None
    }
    colour, symbol = COLOURS[place % len(COLOURS)], SYMBOLS[place % len(SYMBOLS)]
    shared: dict[str, Any] = {"legendgroup": label, "name": label}
    traces = [
        go.Scatter(
            x=[where],
            y=[estimate.mean],
            mode="markers",
            marker={"color": colour, "size": 13, "symbol": symbol + ("" if level == "aware" else "-open")}
            | {"line": {"width": 2, "color": colour if level == "unaware" else "#ffffff"}},
            error_y=_whiskers(estimate, colour) if level == "aware" else None,
            hovertext=_hover(result, level, estimate, axes.metric),
            hoverinfo="text",
            showlegend=level == "aware",
            **shared,
        )
        for level, estimate in points.items()
    ]
    if len(points) < 2:
        return traces
    ends = [estimate.mean for estimate in points.values()]
    line = go.Scatter(
        x=[where, where], y=ends, mode="lines", line={"color": colour, "width": 1.5, "dash": "dot"}, hoverinfo="skip"
    )
    return [line.update(showlegend=False, **shared), *traces]


def _whiskers(estimate: Estimate, colour: str) -> dict[str, Any] | None:
    """Return the interval as error bars."""
    if estimate.mean is None or estimate.low is None or estimate.high is None:
        return None
    ends = {"array": [estimate.high - estimate.mean], "arrayminus": [estimate.mean - estimate.low]}
    return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 5} | ends


def _hover(result: DefenseResult, level: str, estimate: Estimate, metric: str) -> str:
    """Return what a point says when it is pointed at."""
    lines = [
        f"<b>{_label(result.defense)}</b>",
        "no defence to know of" if result.defense == NO_DEFENSE else level_title(level, result.defense),
        f"{METRICS[metric].title}: {measure(metric, estimate.mean)} {interval(metric, estimate)}",
        f"Accuracy: {percent(result.accuracy)}",
        f"{result.victims} images",
    ]
    return "<br>".join(lines)


def _label(defense: str) -> str:
    """Return a defence's name, broken into short lines and safe in a page: Plotly reads tags."""
    return "<br>".join(escape(line) for line in wrap(defense_title(defense), 34))


def _chance_label(metric: str, chance: float) -> dict[str, Any]:
    """Return the words at the line of no leakage."""
    words = f"chance ({percent(chance)})" if metric == "identified" else "public mean image, no attack"
    place = {"x": 1, "xref": "paper", "xanchor": "right", "y": chance, "yanchor": "bottom"}
    return {"text": words, "showarrow": False, "font": {"size": 12, "color": "#a3262a"}} | place


def _layout(axes: Axes) -> dict[str, Any]:
    """Return axes, legend and margins."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": "#8a97a3", "ticks": "outside", "automargin": True}
    across = {"title": {"text": "Accuracy of the trained model"}, "tickformat": ".0%"} if axes.accuracy else {}
    rate = axes.metric == "identified"
    up = {"title": {"text": "Images identified" if rate else METRICS[axes.metric].title}}
    up |= {"tickformat": ".0%", "range": [-0.04, 1.04]} if rate else {}
    return {
        "font": {"family": "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", "color": INK},
        "xaxis": axis | across,
        "yaxis": axis | up,
        "height": 460,
        "margin": {"l": 56, "r": 16, "t": 16, "b": 56},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "#ffffff",
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "itemclick": False},
        "hoverlabel": {"bgcolor": "#ffffff", "font": {"color": INK}},
        "dragmode": False,
    }
