"""Pages for people: the fleet, a device, bundles, rollouts, enrolment and the audit log.

Rendered here, with escaping always on; nothing is asked of third parties. A small script swaps in what has changed.
"""
