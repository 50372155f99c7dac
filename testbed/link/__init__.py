"""A radio link in user space: a TCP proxy whose two directions have a capacity, a delay and a bounded queue.

Bytes wait as they would in front of a radio; connections themselves are never shaped, only what they carry. It needs
no root and no kernel module, and knows nothing of frames, bundles or models.
"""
