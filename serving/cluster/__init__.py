"""The tail on a cluster of workers: one tier's scheduler and doors here, the running of its batches elsewhere.

Workers keep nothing between batches, so any of them can do any batch, and one that dies costs no more than the time of
doing its batch again. No scheduling here, and no sockets of our own: Ray carries what goes out and comes back.
"""
