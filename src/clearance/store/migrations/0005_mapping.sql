-- Copies of mapped groups: an instance is a node at a path, its scope with its position at the end. What it waits for is
-- counted from the states of the others. Pools: limits that tasks share by name.
ALTER TABLE instance ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE instance DROP COLUMN pending;
ALTER TABLE instance DROP COLUMN failed;
ALTER TABLE instance DROP COLUMN skipped;
CREATE INDEX instance_by_node ON instance (run, node, scope, position) WHERE position >= 0;

CREATE TABLE pool (
    name TEXT PRIMARY KEY,
    slots BIGINT NOT NULL
);
