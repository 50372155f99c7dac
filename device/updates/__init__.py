"""Bundles in place: one that is put into a folder is verified, tried, switched to between two frames, and watched.

It fetches nothing: whoever brings bundles writes them beside the folder and moves them in.
"""
