"""The device agent: sources, head, exits, the pipeline of frames and its history.

It holds no model of the link and no rule of choice (`adaptation`), no sockets (`transport`), and needs neither torch
nor compressai.
"""
