"""Bundles in place: one that is put into a folder is verified, tried, switched to between two frames, and watched.

A person may put it there, or a control plane (`remote.py`), which also takes back what was on trial.
"""
