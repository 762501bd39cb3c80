"""Leading and asking: the processes, sockets and signals around the controller, and whoever connects to them."""
