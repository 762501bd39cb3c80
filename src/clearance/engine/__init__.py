"""WHO runs it: one protocol for launching processes, one suite that proves an engine keeps it, and the engines."""
