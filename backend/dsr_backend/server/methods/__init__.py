"""The worker-lane methods: the numerics behind the protocol."""
