"""Fixtures of the run room: a home with the real command, a database in each dialect."""

from support.postgresql import database_url as database_url
from support.runs import home as home
