"""A real server on loopback and a real browser, while the browser tests run.

NiceGUI is one app a process, and Playwright keeps a loop running in this thread while it is open: both end
with the module.
"""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmoat.store.logs.database import Database

sys.path.insert(0, str(Path(__file__).parent.parent / "api"))
sys.path.insert(0, str(Path(__file__).parent))
from site_rig import Site  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def site(engine: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(engine, tmp_path_factory.mktemp("site"))
    thread = threading.Thread(target=lambda: asyncio.run(site.serve()), name="site")
    thread.start()
    assert site.listening.wait(60), "the site did not start"
    yield site
    site.stop()
    thread.join(10)
    assert not thread.is_alive(), "the site did not stop"
    site.rig.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield browser
        browser.close()
