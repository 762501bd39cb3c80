-- Users of this installation and their API keys, of which only the hash is kept.
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    groups TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at $REAL NOT NULL,
    revoked_at $REAL
);

CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (name),
    hash TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at $REAL NOT NULL,
    expires_at $REAL,
    revoked_at $REAL
);
CREATE INDEX api_key_by_account ON api_key (account);
