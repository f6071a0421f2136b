"""The frame around every page: mark, navigation, theme, who is signed in.

Whatever may come from a log is shown by ``ui.label`` and nothing else: it sets text, never markup.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from deepmoat.console.visit import Visit

PAGES = (("Overview", "/"), ("Search", "/search"), ("Incidents", "/incidents"))
_THEMES: dict[str, bool | None] = {"dark": True, "light": False}


@contextmanager
def frame(visit: Visit, active: str, title: str = "") -> Iterator[None]:
    """The page called ``active``; its content goes inside."""
    ui.page_title(f"{title or active} · deepmoat")
    ui.colors(primary="#0b7285", dark="#141d23", dark_page="#0d1419")
    theme = ui.dark_mode(_THEMES.get(visit.theme))
    with ui.element("header").classes("moat-bar"):
        with ui.element("a").props('href="/"').classes("moat-brand"):
            ui.element("img").props('src="/assets/mark.svg" alt="" width="26" height="26"')
            ui.label("deepmoat")
        with ui.element("nav").classes("moat-nav"):
            for name, path in PAGES:
                link = ui.link(name, path).classes("moat-tab")
                if name == active:
                    link.classes("on").props('aria-current="page"')
        with ui.element("div").classes("moat-me"):
            _theme_button(theme)
            ui.label(visit.visitor.name).classes("moat-name")
            _sign_out(visit)
    with ui.element("main").classes("moat-main"):
        yield


def card(title: str = "", note: str = "") -> ui.element:
    """A box with a heading; use as a context manager."""
    box = ui.element("section").classes("moat-card")
    if title:
        with box, ui.element("div").classes("moat-head"):
            ui.label(title).classes("moat-title")
            if note:
                ui.label(note).classes("moat-note")
    return box


def empty(what: str, hint: str = "") -> None:
    """Nothing here yet, and what to do about it."""
    with ui.element("div").classes("moat-empty"):
        ui.label(what)
        if hint:
            ui.label(hint).classes("moat-note")


def badge(text: str, kind: str = "") -> None:
    """A small mark; ``kind`` is good, bad, warn or nothing."""
    ui.label(text).classes(f"moat-badge {kind}")


def _theme_button(theme: ui.dark_mode) -> None:
    def turn() -> None:
        theme.value = not theme.value
        name = "dark" if theme.value else "light"
        ui.run_javascript(f"document.cookie='moat_theme={name};path=/;max-age=31536000;samesite=strict'")

    button = ui.button(icon="contrast", color=None, on_click=turn).props("flat round dense size=sm")
    button.props('aria-label="Dark or light"').classes("moat-quiet")


def _sign_out(visit: Visit) -> None:
    with ui.element("form").props('method="post" action="/sign-out"'):
        token = ui.element("input").props('type="hidden" name="token"')
        token.props["value"] = visit.form_token
        with ui.element("button").props('type="submit"').classes("moat-out"):
            ui.label("Sign out")
