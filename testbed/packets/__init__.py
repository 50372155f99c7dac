"""A link of packets in user space: two network namespaces, and between them a program that loses, delays and damages.

Real programs run in the namespaces and see an ordinary network. Needs Linux, root and /dev/net/tun; nothing here knows
frames, bundles or models, and the conditions are pure: packets with times in, packets with times out.
"""
