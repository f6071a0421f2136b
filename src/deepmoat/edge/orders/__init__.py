"""Orders: the actions in force, read from the file core left and from its socket."""
