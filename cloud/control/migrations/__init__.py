"""Alembic's migrations of the control plane's database. To add one, a file in `versions/`."""
