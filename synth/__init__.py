"""Synthetic micrographs: recipes, scenes, the two renders and the data set on disk."""
