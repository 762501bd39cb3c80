-- Results that are taken instead of running a task again, what each task asked of them, and what people said of tasks.
CREATE TABLE cache_entry (
    digest TEXT PRIMARY KEY,
    function TEXT NOT NULL,
    fields TEXT NOT NULL,
    result $BYTES,
    artifact TEXT NOT NULL,
    evidence BIGINT NOT NULL,
    builder TEXT NOT NULL,
    run TEXT NOT NULL,
    task TEXT NOT NULL,
    created_at $REAL NOT NULL,
    used_at $REAL NOT NULL
);
CREATE INDEX cache_entry_by_function ON cache_entry (function, created_at);
CREATE INDEX cache_entry_by_use ON cache_entry (used_at);

CREATE TABLE cache_code (
    digest TEXT PRIMARY KEY,
    parts TEXT NOT NULL
);

CREATE TABLE cache_lookup (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,
    fields TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    from_run TEXT NOT NULL,
    from_task TEXT NOT NULL,
    at $REAL NOT NULL,
    PRIMARY KEY (run, number)
)$WITHOUT_ROWID;

CREATE TABLE mark (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at $REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    principal TEXT NOT NULL,
    applied BIGINT NOT NULL,
    PRIMARY KEY (run, number, at)
)$WITHOUT_ROWID;
CREATE TABLE pruned (
    dag TEXT PRIMARY KEY,
    runs BIGINT NOT NULL,
    highest BIGINT NOT NULL
);
CREATE INDEX artifact_by_digest ON artifact (digest);
CREATE INDEX attestation_by_run ON attestation (run);
