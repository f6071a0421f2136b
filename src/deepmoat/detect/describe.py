"""Describe: ``docs/detectors.md`` from the detectors themselves, so that the page cannot be wrong."""

import inspect
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from deepmoat.detect.detector import DETECTORS, Case, Detector
from deepmoat.model import Finding

_HEAD = """# Detectors

Made by `python -m deepmoat.detect.describe > docs/detectors.md` from the classes in
`src/deepmoat/detect/detectors/`; a test fails when this page is stale. How they decide and how well:
[decision 5](decisions/0005-detectors.md).

Each detector is one statement in the query language that groups by its own time bucket, so the same text
serves the newest seconds and a whole file, and a pure judgement on its rows. Findings of one cause are one
incident. What is only likely has a cause of its own, ending in `:likely`: an incident acts on all its
clients, and a certain attacker must not take a doubtful one along.

Settings are in `[detect]`: `disabled = ["new_country"]` turns one off, `[detect.<name>]` holds thresholds.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *(_section(name, kind()) for name, kind in DETECTORS)])


def _section(name: str, detector: Detector[Any]) -> str:
    techniques = ", ".join(f"[{t}]({_technique(t)})" for t in detector.TECHNIQUES)
    finding = _example(detector)
    parts = [
        f"## {name}",
        inspect.getdoc(inspect.getmodule(type(detector))) or "",
        inspect.getdoc(type(detector)) or "",
        f"Reads `{detector.LOGSTORE}`; looks every {detector.EVERY:g} s at the last {_span(detector.WINDOW)}"
        f" and the bucket begun before. ATT&CK: {techniques}.",
        _thresholds(name, detector),
        f"**Does not see:** {detector.BLIND}",
        f"**A finding:** {finding.severity.name.lower()}, cause `{finding.cause}`: {finding.summary}",
        f"**Its evidence:**\n\n```sql\n{finding.evidence.text}\n```",
        f"<details><summary>The statement</summary>\n\n```sql\n{_flush(detector.query())}\n```\n</details>",
    ]
    return "\n\n".join(parts) + "\n"


def _thresholds(name: str, detector: Detector[Any]) -> str:
    about = (inspect.getdoc(detector.THRESHOLDS) or "").replace("``", "`")
    values = "\n".join(f"{k} = {v}" for k, v in msgspec.structs.asdict(detector.at).items())
    return f"{about}\n\n```toml\n[detect.{name}]\n{values}\n```"


def _example(detector: Detector[Any]) -> Finding:
    """The finding of the first case that has one."""
    now = datetime(2025, 1, 28, tzinfo=UTC)
    firing: Case = next(case for case in detector.CASES if case.found)
    return next(iter(detector.judge(firing.rows, now)))


def _flush(statement: str) -> str:
    """Without the indentation it has in its file."""
    return "\n".join(line.removeprefix(" " * 8) for line in statement.split("\n"))


def _technique(name: str) -> str:
    return "https://attack.mitre.org/techniques/" + name.replace(".", "/")


def _span(seconds: int) -> str:
    """
    >>> _span(90), _span(600), _span(86400)
    ('90 s', '10 min', '24 h')

    """
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


if __name__ == "__main__":
    sys.stdout.write(page())
