"""TLS for tests of the edge: an authority of our own, certificates on disk, clients that check them."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import trustme

from deepmoat.edge.settings import CertificateSettings, TlsSettings

AUTHORITY = trustme.CA()


def certificate(folder: Path, *names: str, authority: trustme.CA = AUTHORITY) -> CertificateSettings:
    """A certificate made out to ``names``, written to ``folder``."""
    made = authority.issue_cert(*names)
    folder.mkdir(parents=True, exist_ok=True)
    chain, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
    chain.write_bytes(b"".join(p.bytes() for p in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return CertificateSettings(certificate=str(chain), key=str(key))


def tls(folder: Path, *names: str, **more: Any) -> TlsSettings:
    """Settings that listen on a port of the system's choice with one certificate for each name."""
    made = tuple(certificate(folder, name) for name in names or ("a.example",))
    return TlsSettings(listen="127.0.0.1:0", certificates=made, **more)


def client_context(*protocols: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """How a client checks the edge's certificate, and what it offers to speak."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class H2Peer:
    """A client of HTTP/2 that tells all that happens, one stream's events at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.events: list[Any] = []
        self.acknowledge = True
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def request(
        self,
        path: str = "/",
        *lines: tuple[str, str],
        method: str = "GET",
        end: bool = True,
        host: str = "a.example",
    ) -> int:
        """Open a stream; its number."""
        stream: int = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":path", path), (":authority", host), *lines]
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """Send a body as fast as the windows allow."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if not room:
                await self.more()
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.flush()
            await self.writer.drain()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    async def more(self) -> bool:
        """Read once; False when the connection has ended."""
        data = await self.reader.read(65_536)
        if not data:
            return False
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived) and self.acknowledge:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        return True

    def of(self, stream: int, kind: type[Any]) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind) and getattr(e, "stream_id", None) == stream]

    def body(self, stream: int) -> bytes:
        return b"".join(e.data for e in self.of(stream, h2.events.DataReceived))

    async def until(self, stream: int, kind: type[Any]) -> Any:
        """Wait for an event of ``stream``."""
        while not (found := self.of(stream, kind)):
            assert await self.more(), f"closed before {kind.__name__}: {self.events}"
        return found[0]

    async def answer(self, stream: int) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, fields and body of the complete answer."""
        await self.until(stream, h2.events.StreamEnded)
        fields = dict(self.of(stream, h2.events.ResponseReceived)[0].headers)
        return int(fields[b":status"]), fields, self.body(stream)

    async def gone(self) -> Any:
        """Wait until the other side ends the connection; what it gave as the reason."""
        try:
            while await self.more():
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        ended = [e for e in self.events if isinstance(e, h2.events.ConnectionTerminated)]
        return ended[-1].error_code if ended else None


async def h2_connect(port: int) -> H2Peer:
    """A client of HTTP/2 that is connected to the edge."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_context("h2"), server_hostname="a.example"
    )
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    assert chosen == "h2"
    return H2Peer(reader, writer)
