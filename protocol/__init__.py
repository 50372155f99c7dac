"""Messages, feature bitstreams, limits and error codes: bytes in, values out. No sockets, no clocks, no torch."""
