"""What a run comes to: tables of records, energy, the loss around a network, figures and a page."""
