"""What comes from outside is judged here, before anything stores, loads or serves it. It only judges: it runs nothing.

Rules:

1. Content decides, never a file's name: a pickle called `README.md` is a pickle.
2. What cannot be parsed whole by a strict reader of ours is refused; so is what has two readings (polyglots).
3. Nothing is executed, unpickled, extracted to a path of the archive's choice, or read without a bound.
4. A crash of a reader is a refusal.
"""

from clearance.trust.ingest.judge import judge_model
from clearance.trust.ingest.judgement import Finding, Judgement, Limits

__all__ = ["Finding", "Judgement", "Limits", "judge_model"]
