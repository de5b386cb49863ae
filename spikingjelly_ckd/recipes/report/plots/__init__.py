"""Pictures of a run, one call each; every one returns a ``matplotlib.figure.Figure`` and leaves pyplot alone."""
