"""Device, ranks, threads, memory, locks, errors and folders."""
