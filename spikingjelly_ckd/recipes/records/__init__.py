"""What comes out, as data: the record of a run, how it is read and checked, and the figures of an evaluation.

Trainings, comparisons and reports stand on it; it imports none of them.
"""

from .files import FORMAT, read_record, write_record
from .history import is_over, summary
from .ran_on import environment

__all__ = ["FORMAT", "environment", "is_over", "read_record", "summary", "write_record"]
