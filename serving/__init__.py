"""What every tier shares: running tails, forwarding, health. Not a program by itself."""
