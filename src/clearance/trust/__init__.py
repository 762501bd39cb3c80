"""What is believed: this installation's key, signatures, provenance, and the trust desk that judges by them.

Rules: strict formats of our own code (DSSE, in-toto Statement v1, SLSA provenance v1, OpenSSF Model Signing v1.0),
each judged in tests by the reference's own files or library; cryptography is imported when something is signed or
verified, never before; what decides (`policy`, `provenance`, `statement`) does no I/O and reads no clock.
"""
