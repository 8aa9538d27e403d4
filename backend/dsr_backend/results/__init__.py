"""Results of a fit: meshes, measures, scores, files."""
