"""Scenarios: what runs, over which links, what goes wrong, and what must hold, as one TOML file. Nothing runs here.

`scenario` has the settings, `rates` links from a few parameters, `faults` what goes wrong, `library` named scenarios.
"""
