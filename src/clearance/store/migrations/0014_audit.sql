-- The audit log: entries in their order, with the signed checkpoint of the tree that ends there, if there is one; and
-- the inner hashes of every fourth level.
CREATE TABLE audit (
    number $NUMBERED,
    entry $BYTES NOT NULL,
    leaf $BYTES NOT NULL,
    checkpoint TEXT NOT NULL
);

CREATE TABLE audit_node (
    height BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hash $BYTES NOT NULL,
    PRIMARY KEY (height, number)
)$WITHOUT_ROWID;
