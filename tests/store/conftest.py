"""Fixtures of the store room: a database in each dialect."""

from support.postgresql import database_url as database_url
