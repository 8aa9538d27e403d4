"""The dsr_* commands, one module per topic."""
