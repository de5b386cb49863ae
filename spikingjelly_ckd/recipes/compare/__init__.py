"""Which method helps, on which network, by how much: several methods on the same seeds, batches and teacher."""
