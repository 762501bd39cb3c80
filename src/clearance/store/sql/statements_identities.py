"""Statements of users and their API keys."""

from __future__ import annotations

STATEMENTS: dict[str, str] = {
    "account_put": "INSERT INTO account (name, groups, roles, created_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET groups = excluded.groups, roles = excluded.roles, revoked_at = NULL",
    "account_revoke": "UPDATE account SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL",
    "account_get": "SELECT groups, roles, created_at, revoked_at FROM account WHERE name = ?",
    "accounts": "SELECT name, groups, roles, created_at, revoked_at,"
    " (SELECT count(*) FROM api_key WHERE api_key.account = account.name AND api_key.revoked_at IS NULL)"
    " FROM account ORDER BY name",
    "api_key_add": "INSERT INTO api_key (id, account, hash, label, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
    "api_key_revoke": "UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
    "api_keys_revoke": "UPDATE api_key SET revoked_at = ? WHERE account = ? AND revoked_at IS NULL",
    "api_key_get": "SELECT account, hash, expires_at, revoked_at FROM api_key WHERE id = ?",
    "api_keys": "SELECT id, account, label, created_at, expires_at, revoked_at FROM api_key ORDER BY created_at, id",
}
