"""Asks any server of the Open Inference Protocol v2 whether it keeps the protocol. Knows nothing of our own server.

A case is a name, the clause it rests on, what is expected, and a function that looks. Only what the published text
asks for is a case; where the text leaves a choice, every choice passes. The model must be one that gives the same
output for the same input, and takes zeros and ones.
"""
