"""Several processes on one data directory and two listeners: their supervisor, and the link between them.

The supervisor does no work itself and knows nothing of what its workers do. Each worker has a socket to it, over which
wake-ups travel from worker to worker and figures are gathered for `/metrics`. Nothing is lost with it.
"""
