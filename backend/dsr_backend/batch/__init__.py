"""Many trajectories, each a task of its own."""
