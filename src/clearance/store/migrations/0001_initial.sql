-- $SERIAL, $BYTES and $REAL are filled in by the dialect.
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL,
    address TEXT NOT NULL,
    expires_at $REAL NOT NULL
);

CREATE TABLE dag_version (
    digest TEXT PRIMARY KEY,
    dag TEXT NOT NULL,
    bundle TEXT NOT NULL,
    module TEXT NOT NULL,
    graph $BYTES NOT NULL,
    created_at $REAL NOT NULL
);

CREATE TABLE run (
    number $SERIAL,
    key TEXT NOT NULL UNIQUE,
    id TEXT NOT NULL UNIQUE,
    dag TEXT NOT NULL,
    version TEXT NOT NULL REFERENCES dag_version (digest),
    state TEXT NOT NULL,
    parameters TEXT NOT NULL,
    principal TEXT NOT NULL,
    environment TEXT NOT NULL,
    created_at $REAL NOT NULL,
    finished_at $REAL
);
CREATE INDEX run_by_dag ON run (dag, number);
CREATE INDEX run_by_state ON run (state, number);

CREATE TABLE instance (
    run BIGINT NOT NULL REFERENCES run (number),
    number BIGINT NOT NULL,
    node BIGINT NOT NULL,
    task TEXT NOT NULL,
    position BIGINT NOT NULL,
    state TEXT NOT NULL,
    pending BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at $REAL NOT NULL,
    changed_at $REAL NOT NULL,
    clearance TEXT NOT NULL,
    PRIMARY KEY (run, number)
)$WITHOUT_ROWID;

CREATE TABLE attempt (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    node TEXT NOT NULL,
    processes TEXT NOT NULL,
    started_at $REAL,
    finished_at $REAL,
    failure TEXT NOT NULL,
    cpu_seconds $REAL NOT NULL,
    peak_memory BIGINT NOT NULL,
    PRIMARY KEY (run, number, epoch)
)$WITHOUT_ROWID;

CREATE TABLE artifact (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,
    data $BYTES NOT NULL,
    created_at $REAL NOT NULL,
    PRIMARY KEY (run, number)
);

CREATE TABLE attestation (
    number $SERIAL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    run BIGINT NOT NULL,
    instance BIGINT NOT NULL,
    envelope $BYTES NOT NULL,
    created_at $REAL NOT NULL
);
CREATE INDEX attestation_by_subject ON attestation (subject, kind);

CREATE TABLE environment (
    digest TEXT PRIMARY KEY,
    lock TEXT NOT NULL
);

CREATE TABLE service (
    name TEXT PRIMARY KEY,
    run BIGINT NOT NULL,
    instance BIGINT NOT NULL,
    bundle TEXT NOT NULL,
    spec TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    desired BIGINT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    due_at $REAL NOT NULL,
    info TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at $REAL NOT NULL
);

CREATE TABLE event (
    run BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at $REAL NOT NULL,
    instance BIGINT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (run, seq)
)$WITHOUT_ROWID;
