"""How a frame goes on from here: at which cut and level, to which of the tiers above, or not at all.

`prediction` is pure: figures in, seconds out. `Upstreams` asks tiers above, one after the other where one fails.
`Relay` knows the figures and decides.
"""
