"""What a run leaves: its record, tables of records, energy and the loss around a network."""
