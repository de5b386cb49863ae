"""One step of two networks: what a batch is, what was observed, and what the losses get of it."""
