"""Checks of arguments, shapes and installed packages, the errors that they raise, and old names that warn."""
