"""Listening: how a connection becomes a client, through PROXY headers and TLS handshakes."""
