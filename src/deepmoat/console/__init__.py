"""The web console: one file a page, on the API's server."""
