"""WHAT to do: tasks, DAGs and the graph they become: pure data, checked before anything runs.

Its public face is `clearance` itself: `clearance.task`, `clearance.dag`, `clearance.when` and the others. Nothing is
imported here, so that whoever reads a graph does not load what writes one.
"""
