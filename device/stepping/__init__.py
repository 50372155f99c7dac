"""Frames that depend on each other, such as the tokens of a text: each goes when the one before it is answered.

For bundles whose segments keep state (`runtime.streams`). No queue, no policy: a stream stays on the cut it began at.
"""
