"""``make demo``: the whole path on loopback, with a toy model backend, honest people and an attack."""
