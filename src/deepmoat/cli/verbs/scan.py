"""``deepmoat scan FILE…``: find attacks in logs that exist already."""

from pathlib import Path

import click

from deepmoat.cli.options import data_option, json_option, settings_option


@click.command(help="Find attacks in log files (.gz too): nginx, Apache, sshd, JSON or plain lines.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--parser", help="How to read the files; guessed for each when not named.")
@click.option("--html", "page", metavar="FILE", help="Write the report as one self-contained HTML page, too.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
@settings_option
@data_option
def command(
    files: tuple[str, ...],
    parser: str | None,
    page: str | None,
    quiet: bool,
    as_json: bool,
    settings: str | None,
    data: str | None,
) -> None:
    """Exit status 0 with or without findings."""
    import msgspec
    from rich.console import Console

    from deepmoat.app.scan.page import render as render_page
    from deepmoat.app.scan.run import scan
    from deepmoat.app.scan.text import render as render_text
    from deepmoat.app.settings import read
    from deepmoat.cli.progress import bar

    with bar(quiet=quiet or as_json) as progress:
        report = scan(list(files), read(settings, data).moat, parser=parser, progress=progress)
    if page:
        Path(page).write_text(render_page(report))
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
        return
    Console(highlight=False).print(render_text(report))
