"""The motion of the atoms: poses, warps, weights over time, jumps, forecasts, statistics of states."""
