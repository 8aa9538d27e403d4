"""The fit of preset paper: training points, loss, training with checkpoints, report."""
