"""What is known about link and tiers, and what is decided for a frame. Pure: no sockets, no clock, no randomness."""
