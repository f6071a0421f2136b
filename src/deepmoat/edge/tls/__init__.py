"""TLS towards clients and towards backends: which certificate, which checks."""
