-- What people search runs by: tags that they set, and the plain parameters of a run (JSON text, and the number it is).
CREATE TABLE run_tag (
    run BIGINT NOT NULL REFERENCES run (number),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, name)
)$WITHOUT_ROWID;
CREATE INDEX run_tag_by_value ON run_tag (name, value, run);

CREATE TABLE run_parameter (
    run BIGINT NOT NULL REFERENCES run (number),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    amount $REAL,
    PRIMARY KEY (run, name)
)$WITHOUT_ROWID;
CREATE INDEX run_parameter_by_value ON run_parameter (name, value, run);
CREATE INDEX run_parameter_by_amount ON run_parameter (name, amount, run);

INSERT INTO run_parameter (run, name, value, amount) $RUN_PARAMETERS;

CREATE INDEX run_by_creation ON run (created_at);
