"""Real micrographs: reading, training, prediction, separation, measuring, scoring."""
