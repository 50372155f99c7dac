"""What a run of a scenario left behind: figures, tables, the page, and reading them back. Nothing runs here."""
