"""Up to hundreds of thousands of devices as arrays: shared cells, batching tiers, and how many of them are needed.

No policies and no processes: every frame goes to its tier. For one device and its decisions there is
`testbed.simulation`.
"""
