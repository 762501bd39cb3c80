"""The engine of one machine: a supervisor that outlives its controllers, zygotes, and processes forked from them."""
