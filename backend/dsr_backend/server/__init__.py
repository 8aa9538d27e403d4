"""The backend process behind a PyMOL: server, worker lane, detached fits."""
