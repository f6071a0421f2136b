"""``deepmoat query``: ask a running deepmoat, or a file."""

from typing import Any

import click

from deepmoat.cli.options import data_option, json_option, settings_option


@click.command(
    help="Ask TEXT (search | select …) of a running deepmoat, or with --from of a file.\n\n"
    "Example: deepmoat query 'status >= 500 | select client_ip, count(*) as n group by 1 order by n desc'"
)
@click.argument("text")
@click.option("--from", "files", multiple=True, metavar="FILE", help="Ask this log file; no server needed.")
@click.option("--parser", help="How to read FILE; guessed when not named.")
@click.option("--logstore", help="Which logstore; access, or what FILE fills most.")
@click.option("--since", help="Start of the range: -15m, 2026-01-27T03:00:00Z, epoch seconds.")
@click.option("--until", help="End of the range, not included.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="Rows, when TEXT has no limit.",
)
@click.option("--url", help="A core on another machine, such as https://moat.example:8600.")
@click.option("--key", help="API key for --url; better in DEEPMOAT_KEY.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "ndjson"]),
    default="table",
    show_default=True,
)
@json_option
@settings_option
@data_option
def command(text: str, as_json: bool, form: str, **options: Any) -> None:
    """Print the rows."""
    from deepmoat.app.ask import Asked, ask
    from deepmoat.cli.rows import show

    show(ask(Asked(text=text, **options)), "json" if as_json else form)
