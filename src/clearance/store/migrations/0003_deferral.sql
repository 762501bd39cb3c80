-- What a deferred task waits for, and what people have decided.
CREATE TABLE deferral (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    waiting BIGINT NOT NULL,
    due_at $REAL,
    deadline $REAL,
    soft BIGINT NOT NULL,
    since $REAL NOT NULL,
    times BIGINT NOT NULL,
    state TEXT NOT NULL,
    details TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (run, number)
)$WITHOUT_ROWID;

CREATE TABLE approval (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    decision TEXT NOT NULL,
    principal TEXT NOT NULL,
    note TEXT NOT NULL,
    decided_at $REAL NOT NULL,
    PRIMARY KEY (run, number, epoch)
)$WITHOUT_ROWID;
