"""Device, ranks, threads, memory, errors and folders."""
