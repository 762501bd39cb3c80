"""What people look at: runs, tasks, lineage, logs and search, read-only."""
