"""What starts runs by itself: schedules, events of assets, backfills, and the mediator that keeps DAGs apart."""
