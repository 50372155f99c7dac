"""What a device's history says about its link and its speed, and a scenario that plays the same again."""
