"""What the outside is told: deliveries by outbox, OpenLineage, traces, metrics, the control log."""
