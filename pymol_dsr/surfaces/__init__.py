"""PyMOL's surfaces of each state, made in processes of their own."""
