"""Coming from Airflow: a DAG file is read, never run, and written as ours, with a list of what could not be carried."""

from clearance.operators.airflow.convert import Converted, convert
from clearance.operators.airflow.source import Note

__all__ = ["Converted", "Note", "convert"]
