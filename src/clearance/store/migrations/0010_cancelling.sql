-- How often a run that goes on was cancelled: a controller that takes over goes on with it.
ALTER TABLE run ADD COLUMN cancelling BIGINT NOT NULL DEFAULT 0;
