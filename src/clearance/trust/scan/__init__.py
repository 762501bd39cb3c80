"""What is wrong with dependencies, licences and the text of a pipeline, as far as is known: scanners that fail closed.

Rules:

1. A scanner that cannot look (no database, an old one, a file that cannot be parsed, a crash) refuses; it never says
   "nothing found".
2. What is judged is pure: it gets bytes, parsed data and the time. Files are read in `reading`, `database`, `packages`
   and `declared` alone.
3. A finding is data (`finding.Finding`); whether it refuses is decided in one place (`finding.refused`).
4. Nothing is cached by path or time of change: the index of a database is known by the digest of its bytes.
"""
