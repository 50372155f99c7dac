"""The cloud tier as a program: the end of the chain."""
