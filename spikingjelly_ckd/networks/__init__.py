"""Recording, searching and reading the layers of any ``nn.Module``, which is left as it was found."""
