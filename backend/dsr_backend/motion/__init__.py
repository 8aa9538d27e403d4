"""The motion of the atoms: poses, warps, weights over time, forecasts."""
