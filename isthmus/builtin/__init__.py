"""The built-in task, digits in the wild: pictures, network, recipe and trained bundle."""
