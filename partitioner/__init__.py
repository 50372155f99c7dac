"""From a trained model to a bundle: graph, cuts, compressors, export. The only room that needs torch and compressai."""
