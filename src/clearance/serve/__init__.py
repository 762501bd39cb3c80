"""Endpoints: a signed model behind TLS and a bearer token, kept running as a service.

`deploy` says in a task what should run; `trust.provision` makes what it needs (token, certificate); `replica` is the
process that verifies the model's signature, loads it and answers.
"""

from clearance.serve.endpoint import deploy as deploy
