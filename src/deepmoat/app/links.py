"""Addresses of the console and the API, as people reach them."""

from deepmoat.app.settings import Moat


def api_url(moat: Moat) -> str:
    """The API's own address."""
    return f"http://{moat.api.listen}"


def console_url(moat: Moat) -> str:
    """Where people reach the console: what the settings say, else the API's address."""
    return moat.console.url.rstrip("/") or api_url(moat)


def link_url(moat: Moat, link: str) -> str:
    """Where a sign-in link is opened."""
    return f"{console_url(moat)}/sign-in?link={link}"
