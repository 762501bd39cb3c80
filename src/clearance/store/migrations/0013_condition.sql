-- Nodes that are out for their health, beside those that people have closed.
CREATE TABLE condition (
    node TEXT PRIMARY KEY,
    condition TEXT NOT NULL,
    reason TEXT NOT NULL,
    since $REAL NOT NULL
);
