"""What comes out, as data: the record of a run, how it is read and checked, and the figures of an evaluation.

Trainings, comparisons and reports stand on it; it imports none of them.
"""

from .files import FORMAT, environment, is_over, read_record, summary, write_record

__all__ = ["FORMAT", "environment", "is_over", "read_record", "summary", "write_record"]
