"""What is remembered: the database, blobs by digest, and the serializers that fill them.

Rules: bytes at rest are never a pickle; everything is known by its sha256 and verified by whoever reads it;
nothing is visible before it is complete and on the disk.
"""
