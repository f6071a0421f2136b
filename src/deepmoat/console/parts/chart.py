"""Charts over time. What goes in are numbers and times; no text of a log ever reaches a chart."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from nicegui import ui

_GREY = "rgba(128,140,150,.85)"
_LINE = "rgba(128,140,150,.18)"


class Series(msgspec.Struct, frozen=True):
    """One colour of stacked bars: its name, colour and a value for each bucket."""

    name: str
    colour: str
    values: tuple[float, ...]


def bars(
    times: Sequence[float],
    series: Sequence[Series],
    on_click: Callable[[int], Any] | None = None,
) -> ui.echart:
    """Stacked bars; ``times`` are the buckets' starts in seconds since 1970. A click gives the bucket."""
    chart = ui.echart(options(times, series), renderer="svg").classes("moat-chart")
    if on_click:
        chart.on_point_click(lambda event: on_click(event.data_index))
    return chart


def options(times: Sequence[float], series: Sequence[Series]) -> dict[str, Any]:
    """ECharts' options for ``bars``."""
    return {
        "animation": False,
        "grid": {"left": 46, "right": 8, "top": 28 if len(series) > 1 else 10, "bottom": 24},
        "legend": {"show": len(series) > 1, "right": 0, "top": 0, "textStyle": {"color": _GREY}},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {
            "type": "time",
            "axisLabel": {"color": _GREY, "hideOverlap": True},
            "axisLine": {"lineStyle": {"color": _LINE}},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "minInterval": 1,
            "axisLabel": {"color": _GREY},
            "splitLine": {"lineStyle": {"color": _LINE}},
        },
        "useUTC": True,
        "series": [
            {
                "name": one.name,
                "type": "bar",
                "stack": "all",
                "barMaxWidth": 48,
                "barMinWidth": 2,
                "barCategoryGap": "18%",
                "itemStyle": {"color": one.colour},
                "data": [[t * 1000, v] for t, v in zip(times, one.values, strict=True)],
            }
            for one in series
        ],
    }
