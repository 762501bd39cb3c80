"""The two dialects: how each database is opened, migrated, and how its SQL differs from the common text."""
