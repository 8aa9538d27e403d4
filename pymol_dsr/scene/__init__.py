"""Results in the PyMOL scene: CGO and map objects, movies, colours."""
