"""One self-contained HTML page about a model and its cuts: plain values in, text out. No scripts, nothing to load."""
