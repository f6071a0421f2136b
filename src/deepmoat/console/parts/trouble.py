"""A query's error as the analyst sees it: what, where (with the caret), and what to do."""

from nicegui import ui

from deepmoat.kit.errors import MoatError


def trouble(error: MoatError) -> None:
    """Show ``error``; its text may quote the query, so it is text only."""
    message, _, caret = error.message.partition("\n")
    with ui.element("div").classes("moat-error").props('role="alert"'):
        ui.label(message).classes("moat-strong")
        if caret:
            ui.label(caret).classes("moat-caret")
        if error.hint:
            ui.label(error.hint).classes("moat-note")
