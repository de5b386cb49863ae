"""Where :mod:`spikingjelly_ckd.recipes.records.schema` was: ``recipes/row.py`` takes the record from here."""

from ..records.parts import Accuracy, RecordedData, RecordedStudent, RecordedTeacher, TestFigures
from ..records.schema import Record

__all__ = ["Accuracy", "Record", "RecordedData", "RecordedStudent", "RecordedTeacher", "TestFigures"]
