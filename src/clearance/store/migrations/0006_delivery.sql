-- What is to be told to the outside: an event of a run for a sink, once.
CREATE TABLE delivery (
    sink TEXT NOT NULL,
    run BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at $REAL NOT NULL,
    created_at $REAL NOT NULL,
    finished_at $REAL,
    message TEXT NOT NULL,
    PRIMARY KEY (sink, run, seq)
)$WITHOUT_ROWID;
CREATE INDEX delivery_by_state ON delivery (state, sink, due_at);
