-- The steps of flows: each is an instance, and its place among the flow's calls. `arguments` are those of a step that
-- runs as an instance of its own, as msgpack; a step whose flow goes back before it is not a step any more.
CREATE TABLE step (
    run BIGINT NOT NULL,
    position BIGINT NOT NULL,
    number BIGINT NOT NULL,
    path TEXT NOT NULL,
    task TEXT NOT NULL,
    idx BIGINT NOT NULL,
    entry TEXT NOT NULL,
    inputs TEXT NOT NULL,
    arguments $BYTES,
    PRIMARY KEY (run, position)
)$WITHOUT_ROWID;
CREATE INDEX step_by_number ON step (run, number);
