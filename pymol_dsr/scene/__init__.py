"""The PyMOL scene: atoms and molecules that fits know, movies, colours, level sets, light session files."""
