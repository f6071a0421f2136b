"""The verbs of ``deepmoat``. The file name is the verb; each holds ``command``."""
