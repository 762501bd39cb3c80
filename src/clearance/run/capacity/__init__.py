"""The cluster as people and the scheduler change it: queues in force, evictions, moves, drains."""
