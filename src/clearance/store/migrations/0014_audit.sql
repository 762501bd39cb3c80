-- The audit log: entries in their order, the inner hashes of every fourth level, signed checkpoints.
CREATE TABLE audit (
    number BIGINT PRIMARY KEY,
    entry $BYTES NOT NULL,
    leaf $BYTES NOT NULL
);

CREATE TABLE audit_node (
    height BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hash $BYTES NOT NULL,
    PRIMARY KEY (height, number)
)$WITHOUT_ROWID;

CREATE TABLE audit_checkpoint (
    size BIGINT PRIMARY KEY,
    note TEXT NOT NULL
);
