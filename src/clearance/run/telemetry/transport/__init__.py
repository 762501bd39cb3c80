"""How each kind of sink is told: one function a kind, called in the thread of the sink.

Every one raises `Undelivered` when it could not deliver; whoever calls tries again.
"""
