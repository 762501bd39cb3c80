"""Runs that do not count: tests, plans, what-ifs and simulations, through the real state machine."""
