"""The control loop that joins the rooms below: a state machine over the database, and whoever asks it for something.

`controller.py` decides and commits; `loop.py` is the shell around it (sockets, clock, signals); `machine.py` is pure.
"""
