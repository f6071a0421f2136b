"""A report for a terminal. Everything that came from a log is shown as text, never obeyed."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deepmoat.app.scan.report import Report, Series, duration, printable, sparkline
from deepmoat.model import Incident, Severity

_COLOURS = {
    Severity.CRITICAL: "bold white on red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.REPORT: "dim",
}
_ATTACKERS = 15
_SUBJECTS = 8
_INCIDENTS = 20


def render(report: Report) -> RenderableType:
    """The whole report, top to bottom."""
    return Group(*_parts(report))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield _head(report)
    for series in report.series:
        yield _series(series)
    if report.countries:
        shown = "  ".join(f"{printable(code or '??')} {n:,}" for code, n in report.countries[:12])
        yield Text.assemble(("\ncountries  ", "bold"), shown)
    yield Text("")
    if report.attackers:
        yield _attackers(report)
    yield from map(_incident, report.incidents[:_INCIDENTS])
    if len(report.incidents) > _INCIDENTS:
        yield Text(
            f"\n… and {len(report.incidents) - _INCIDENTS:,} more: --json or --html shows all", style="dim"
        )
    if not report.incidents:
        yield Text("No incident: no detector found an attack in these logs.", style="green")
    for failed in report.failed_detectors:
        yield Text(f"did not run: {printable(failed)}", style="bold red")


def _head(report: Report) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for file in report.files:
        size = f"{file.bytes / 1e6:,.1f} MB"
        table.add_row(Text(printable(file.name), style="bold"), file.parser, f"{file.lines:,} lines", size)
    table.add_row(Text("span", style="bold"), _span(report))
    kept = ", ".join(f"{n:,} {name}" for name, n in report.records.items() if n and name != "rejected")
    table.add_row(Text("records", style="bold"), kept or "none")
    refused = ", ".join(f"{n:,} {reason}" for reason, n in sorted(report.refused.items()))
    table.add_row(Text("refused", style="bold"), printable(refused) or "none")
    table.add_row(Text("took", style="bold"), f"{report.elapsed:.1f} s")
    return Panel(table, title="deepmoat scan", title_align="left")


def _span(report: Report) -> str:
    if report.first is None or report.last is None:
        return "no record with a time"
    first, last = report.first, report.last
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC ({last - first})"


def _series(series: Series) -> RenderableType:
    total, bad = sum(series.total), sum(series.bad)
    head = Text.assemble(
        ("\n" + series.logstore, "bold"),
        f"  from {series.start:%Y-%m-%d %H:%M}, one mark is {duration(series.step)}; ",
        f"peak {max(series.total):,}; {bad:,} {series.bad_means} of {total:,}",
    )
    return Group(head, Text(sparkline(series.total), style="cyan"), Text(sparkline(series.bad), style="red"))


def _attackers(report: Report) -> RenderableType:
    table = Table(title=f"Top attackers ({len(report.attackers):,} in all)", title_justify="left")
    for name in ("address", "country", "records", "first seen", "what it did"):
        table.add_column(name, justify="right" if name == "records" else "left", overflow="fold")
    for row in report.attackers[:_ATTACKERS]:
        did = "\n".join(f"{detector}: {summary}" for detector, summary in row.did.items())
        table.add_row(
            Text(printable(row.address)),
            Text(printable(row.country or "-")),
            f"{row.records:,}",
            f"{row.first:%Y-%m-%d %H:%M:%S}",
            Text("\n".join(printable(line) for line in did.split("\n"))),
        )
    return table


def _incident(incident: Incident) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    span = f"{incident.first:%Y-%m-%d %H:%M:%S} to {incident.last:%Y-%m-%d %H:%M:%S} UTC"
    lines.add_row(Text("when", style="bold"), span)
    shown = ", ".join(printable(value) for _, value in incident.subjects[:_SUBJECTS])
    more = incident.subject_count - min(len(incident.subjects), _SUBJECTS)
    lines.add_row(Text("who", style="bold"), Text(shown + (f" and {more:,} more" if more > 0 else "")))
    if incident.countries:
        lines.add_row(Text("from", style="bold"), Text(printable(", ".join(incident.countries))))
    if incident.techniques:
        lines.add_row(Text("ATT&CK", style="bold"), Text(", ".join(incident.techniques)))
    for query in incident.evidence[:1]:
        text = printable(" ".join(query.text.split()))
        lines.add_row(Text("evidence", style="bold"), Text(f"{query.logstore}: {text}", style="dim"))
    title = Text(f" {incident.severity.name} ", style=_COLOURS[incident.severity])
    title.append(f" {printable(incident.title)}", style="bold default")
    return Group(Text(""), title, lines)
