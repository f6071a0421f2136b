"""deepmoat: security observability for AI services, from the packet to the prompt."""

__version__ = "0.1.0"
