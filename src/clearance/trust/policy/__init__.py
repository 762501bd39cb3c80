"""The trust desk's policy: built-in rules that need nothing (`desk`), and rules in Cedar over evidence (extra `trust`).

`desk` is what is asked of everything. `rules` reads a policy, `facts` says what the evidence amounts to, `decide`
judges, `suite` runs a policy's own tests; the ready-made policies are the files in `bundles/`.
"""

from clearance.trust.policy.desk import GRANTED, INPUTS_SIGNED, MODEL_SIGNED, Input, TrustDesk, Verdict

__all__ = ["GRANTED", "INPUTS_SIGNED", "MODEL_SIGNED", "Input", "TrustDesk", "Verdict"]
