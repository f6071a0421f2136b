"""``deepmoat scan``: logs that exist already, into a temporary store, through every detector, to a report."""
