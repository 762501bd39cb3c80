"""Fixtures of the web room: a home with the real command."""

from support.runs import home as home
