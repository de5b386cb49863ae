"""What a run writes down: its record, how a record is read and checked, and what the run ran on.

Trainings, comparisons and reports stand on it; it imports none of them.
"""

from .files import FORMAT, environment, is_over, read_record, summary, write_record

__all__ = ["FORMAT", "environment", "is_over", "read_record", "summary", "write_record"]
