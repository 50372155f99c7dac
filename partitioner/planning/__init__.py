"""Where to cut: a network's costs on a chain of tiers, and the assignment that is best for a goal. Numbers only: no
model, no torch."""
