"""Results: meshes, measures, scores, occupancies, landscapes, files of fits and meshes."""
