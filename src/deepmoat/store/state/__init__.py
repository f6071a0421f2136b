"""State: what must outlive a restart and is not a log: incidents, actions, users, keys."""
