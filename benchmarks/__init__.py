"""What the project promises, measured: each benchmark compares within one run and prints one JSON object."""
