"""Open Inference Protocol v2 over gRPC and REST, for the whole model of each bundle. Decides nothing: the tier does."""
