"""The edge tier as a program: answers near the device, or passes features up to the cloud."""
