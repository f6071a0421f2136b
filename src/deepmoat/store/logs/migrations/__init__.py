"""The schema as numbered .sql files; see ``store/logs/migrate.py``."""
