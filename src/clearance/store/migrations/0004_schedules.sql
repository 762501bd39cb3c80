-- DAGs that are known while no file is being run, why runs were started, and backfills.
CREATE TABLE dag (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL REFERENCES dag_version (digest),
    source TEXT NOT NULL,
    principal TEXT NOT NULL,
    paused BIGINT NOT NULL,
    registered_at $REAL NOT NULL
);

CREATE TABLE schedule (
    dag TEXT PRIMARY KEY,
    last $REAL NOT NULL,
    due_at $REAL
);
CREATE INDEX schedule_by_due ON schedule (due_at);

CREATE TABLE run_cause (
    run BIGINT PRIMARY KEY REFERENCES run (number),
    dag TEXT NOT NULL,
    kind TEXT NOT NULL,
    starts_at $REAL,
    ends_at $REAL,
    again BIGINT NOT NULL,
    request BIGINT UNIQUE,
    backfill TEXT NOT NULL,
    UNIQUE (dag, ends_at, again)
);
CREATE INDEX run_cause_by_backfill ON run_cause (backfill);

CREATE TABLE backfill (
    id TEXT PRIMARY KEY,
    dag TEXT NOT NULL,
    version TEXT NOT NULL REFERENCES dag_version (digest),
    principal TEXT NOT NULL,
    starts_at $REAL NOT NULL,
    ends_at $REAL NOT NULL,
    which TEXT NOT NULL,
    newest_first BIGINT NOT NULL,
    concurrency BIGINT NOT NULL,
    state TEXT NOT NULL,
    created_at $REAL NOT NULL,
    finished_at $REAL
);
CREATE INDEX backfill_by_state ON backfill (state);

CREATE TABLE backfill_interval (
    backfill TEXT NOT NULL REFERENCES backfill (id),
    position BIGINT NOT NULL,
    starts_at $REAL NOT NULL,
    ends_at $REAL NOT NULL,
    again BIGINT NOT NULL,
    state TEXT NOT NULL,
    run TEXT,
    PRIMARY KEY (backfill, position)
)$WITHOUT_ROWID;
CREATE INDEX backfill_interval_by_state ON backfill_interval (backfill, state, position);
