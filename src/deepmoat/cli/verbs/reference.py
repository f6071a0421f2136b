"""``deepmoat reference DIR``: the generated reference pages."""

from pathlib import Path

import click


@click.command(help="Write the reference pages of settings and logstores to DIR.")
@click.argument("directory", metavar="DIR")
def command(directory: str) -> None:
    """The pages in docs/reference are made by this; a test fails when they are stale."""
    from deepmoat.app.reference import pages

    for name, text in pages().items():
        target = Path(directory) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        click.echo(str(target))
