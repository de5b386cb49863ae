"""Any ``nn.Module`` looked at from outside: recording, searching and reading its layers, and leaving it as it was."""
