"""What becomes of a student after its training: run on files, on other hardware, in int8, on the hub."""
