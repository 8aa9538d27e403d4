"""Results of a fit: meshes, measures, files."""
