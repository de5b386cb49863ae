"""Where :mod:`spikingjelly_ckd.recipes.records.schema` was: ``recipes/row.py`` takes the record from here."""

from ..records.schema import Accuracy, Record, RecordedData, RecordedStudent, RecordedTeacher, TestFigures

__all__ = ["Accuracy", "Record", "RecordedData", "RecordedStudent", "RecordedTeacher", "TestFigures"]
