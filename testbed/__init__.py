"""Emulated links, faults, comparisons and reports around the real programs. No program that ships imports it."""
