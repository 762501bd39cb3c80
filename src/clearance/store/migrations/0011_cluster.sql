-- The queues in force (the newest, of every text that was applied), and nodes that take nothing new.
CREATE TABLE queues (
    number BIGINT PRIMARY KEY,
    text TEXT NOT NULL,
    principal TEXT NOT NULL,
    applied_at $REAL NOT NULL
);

CREATE TABLE cordon (
    node TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    principal TEXT NOT NULL,
    since $REAL NOT NULL
);
