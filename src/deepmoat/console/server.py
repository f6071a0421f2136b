"""Mount the console on the API's app. Once in a process: NiceGUI is one app a process."""

from fastapi import FastAPI
from nicegui import app as console
from nicegui import core, ui

from deepmoat.console.gate import Gate
from deepmoat.console.pages import incidents, overview, search, sign_in
from deepmoat.console.pulse import Pulse
from deepmoat.console.services import ConsoleServices

# A page whose session ended elsewhere goes to sign-in by itself; one whose server is away waits for it.
_HEAD = """<link rel="stylesheet" href="/assets/console.css">
<script>
setInterval(() => {
  if (!window.socket || window.socket.connected) return;
  fetch("/", { method: "HEAD", redirect: "manual" })
    .then((answer) => { if (answer.type === "opaqueredirect") location.reload(); })
    .catch(() => {});
}, 2000);
</script>"""


def mount(app: FastAPI, services: ConsoleServices) -> None:
    """Add sign-in, the pages and their websocket to ``app``; call it after every other route is there."""
    app.include_router(sign_in.routes(services))
    overview.add(services, Pulse(services))
    search.add(services)
    incidents.add(services)
    ui.add_head_html(_HEAD, shared=True)
    ui.run_with(
        app,
        title="deepmoat",
        favicon=None,
        dark=None,
        tailwind=False,
        reconnect_timeout=5.0,
        gzip_middleware_factory=None,  # the API's app compresses
        show_welcome_message=False,
        storage_secret=None,  # no cookies but ours
    )
    # Only websockets: one door less, and each message of it is watched by the gate.
    core.app.config.socket_io_js_transports = ["websocket"]
    console.add_middleware(Gate, services=services)
