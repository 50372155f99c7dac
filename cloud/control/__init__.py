"""The control plane: which bundles there are, which device runs which, and who may change that.

It holds state in one database and bundles in one folder. It answers no frame and runs no model: a device goes on
answering when this program is gone, with the bundle and the policy that it has.
"""
