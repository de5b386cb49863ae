"""One step of two networks: its batch, the observation of each network, and what the losses get of them."""
