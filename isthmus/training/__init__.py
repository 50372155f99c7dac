"""From a recipe to a bundle with trained compressors: what `isthmus train RECIPE.toml` does. No losses, no loops."""
