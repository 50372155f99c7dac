"""Errors of the cluster behind a tier.

ServingError                      serving.errors
├── ClusterUnusable               there is no cluster to be used; ends the program (exit code 4)
└── WorkerLost                    a worker went away or stayed silent: another may do its batch
"""

from __future__ import annotations

from serving.errors import ServingError


class ClusterUnusable(ServingError):
    """The cluster cannot be reached, or no worker starts there. For a person to read."""

    exit_code = 4


class WorkerLost(ServingError):
    """No answer will come, or none has come in time; the same batch may be given to another worker."""
