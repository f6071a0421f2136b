"""Small pure parsers of what comes before and around a request: bytes in, values or an error out."""
