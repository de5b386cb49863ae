"""What a comparison found: the record of each arm, the differences with their intervals, one table, one answer.

It trains nothing: :mod:`spikingjelly_ckd.recipes.compare` writes these records, the report reads them.
"""
