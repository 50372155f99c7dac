"""Frame sessions over the network, both ends. Knows messages, not models: no bundles, no policies."""
