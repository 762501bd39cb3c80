-- Assets: what was written, who waits for it, what was started of it.
CREATE TABLE asset_event (
    number BIGINT PRIMARY KEY,
    asset TEXT NOT NULL,
    key TEXT,
    at $REAL NOT NULL,
    source TEXT UNIQUE
);
CREATE INDEX asset_event_by_asset ON asset_event (asset, number);

CREATE TABLE asset_subscription (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    after BIGINT NOT NULL,
    paused BIGINT NOT NULL,
    due_at $REAL
);
CREATE INDEX asset_subscription_by_due ON asset_subscription (due_at);

CREATE TABLE asset_follower (
    asset TEXT NOT NULL,
    subscription TEXT NOT NULL,
    PRIMARY KEY (asset, subscription)
)$WITHOUT_ROWID;

CREATE TABLE asset_waiting (
    subscription TEXT NOT NULL,
    event BIGINT NOT NULL,
    part TEXT NOT NULL,
    asset TEXT NOT NULL,
    key TEXT,
    at $REAL NOT NULL,
    PRIMARY KEY (subscription, event)
)$WITHOUT_ROWID;
CREATE INDEX asset_waiting_by_part ON asset_waiting (subscription, part, asset, event);

CREATE TABLE asset_run (
    number BIGINT PRIMARY KEY,
    subscription TEXT NOT NULL,
    key TEXT,
    run TEXT UNIQUE,
    created_at $REAL NOT NULL,
    finished_at $REAL
);
CREATE INDEX asset_run_by_subscription ON asset_run (subscription, finished_at);
CREATE INDEX asset_run_by_key ON asset_run (subscription, key);

CREATE TABLE consumed (
    subscription TEXT NOT NULL,
    event BIGINT NOT NULL REFERENCES asset_event (number),
    request BIGINT NOT NULL REFERENCES asset_run (number),
    PRIMARY KEY (subscription, event)
)$WITHOUT_ROWID;
CREATE INDEX consumed_by_request ON consumed (request, event);
CREATE INDEX consumed_by_event ON consumed (event);
