"""The nouns that flow through deepmoat. This package imports nothing of ours.

A client's Request is judged into a Verdict; both become a Record in a Logstore. A Query
reads Records back as a Result; a detector turns what it reads into a Finding; findings of
one cause become one Incident; an incident may order an Action, which the edge enforces on
the next Request, and which always ends.
"""

from deepmoat.model.action import Action, Target
from deepmoat.model.finding import Finding, Severity
from deepmoat.model.incident import Incident
from deepmoat.model.logstore import LOGSTORES, Column, Logstore
from deepmoat.model.query import Query, Result
from deepmoat.model.record import Record
from deepmoat.model.request import Request, Verdict

__all__ = [
    "LOGSTORES",
    "Action",
    "Column",
    "Finding",
    "Incident",
    "Logstore",
    "Query",
    "Record",
    "Request",
    "Result",
    "Severity",
    "Target",
    "Verdict",
]
