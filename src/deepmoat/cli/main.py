"""``deepmoat``: verbs are files in ``cli/verbs``; only the one that runs is imported.

Exit status: 0 done, 1 it could not be done (with the reason and the remedy on stderr), 2 wrong usage.
"""

import sys
from importlib import import_module
from typing import Any

import click

from deepmoat import __version__

# The verbs with their one-line help, so that ``deepmoat --help`` imports none of them.
VERBS: dict[str, str] = {
    "up": "Start everything on this machine: edge, core, console.",
    "check": "Say whether a settings file is right.",
    "reload": "Have the running edges read their settings again.",
    "backend": "List backends, drain one, take it back.",
    "query": "Ask a running deepmoat, or a file.",
    "scan": "Find attacks in log files; no server needed.",
    "link": "Print a fresh one-time sign-in link.",
    "key": "Create, list and revoke API keys.",
    "alert": "Send a test message through the alert channels.",
    "backup": "Write everything deepmoat knows to a new folder.",
    "restore": "Fill a new data folder from a backup.",
    "demo": "Watch an attack be found, told and blocked, on loopback.",
    "reference": "Write the reference pages of settings and logstores.",
}
HIDDEN = ("core", "edge", "toy")


class Verbs(click.Group):
    """Finds verbs by file name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS and name not in HIDDEN:
            return None
        command: click.Command = import_module(f"deepmoat.cli.verbs.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from difflib import get_close_matches

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            close = get_close_matches(args[0], VERBS, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"{exc.message}{hint}", ctx) from exc


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deepmoat")
def cli() -> None:
    """Security observability for AI services: from the packet to the prompt, in seconds."""


def main() -> None:
    """Run a verb; turn our errors into one line and exit status 1."""
    from deepmoat.kit.errors import MoatError

    try:
        cli(standalone_mode=False)
    except MoatError as exc:
        click.echo(f"deepmoat: {exc}", err=True)
        sys.exit(1)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
