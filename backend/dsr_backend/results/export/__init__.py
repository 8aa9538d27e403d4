"""Mesh files: PLY, OBJ, STL, GLB and NPZ."""
