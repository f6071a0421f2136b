"""A report as one self-contained HTML page: no script, nothing fetched, every value escaped."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined, select_autoescape

from deepmoat.app.scan.report import Report, Series, duration

_WIDTH, _HEIGHT = 900, 90


def render(report: Report) -> str:
    """The page."""
    environment = Environment(autoescape=select_autoescape(default=True), undefined=StrictUndefined)
    template = environment.from_string((files(__package__) / "page.html").read_text())
    return template.render(
        report=report,
        charts=[(s, _bars(s)) for s in report.series],
        width=_WIDTH,
        height=_HEIGHT,
        duration=duration,
    )


def _bars(series: Series) -> list[dict[str, float]]:
    """One bar a bucket: x, width, top and height of the whole and of the bad part, in the picture's units."""
    top = max(series.total, default=0) or 1
    width = _WIDTH / max(1, len(series.total))
    return [
        {
            "x": round(i * width, 2),
            "width": round(max(0.5, width - 1), 2),
            "total": round(n / top * _HEIGHT, 2),
            "bad": round(bad / top * _HEIGHT, 2),
        }
        for i, (n, bad) in enumerate(zip(series.total, series.bad, strict=True))
    ]
