"""The backend process: start it, talk to it, check its replies."""
