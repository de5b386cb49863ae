"""Names of the arms that others are compared with."""

__all__ = ["CONTROL", "LOUDER", "LOUDER_OF", "TUNED"]

CONTROL = "plain"
"""Plain training of the same student."""
LOUDER = "plain x3"
"""Plain training with three times the loss: what a gain may owe to larger steps alone."""
TUNED = " (tuned)"
"""Behind the name of an arm with the values that a search found for it."""
LOUDER_OF = {CONTROL: LOUDER, CONTROL + TUNED: LOUDER + TUNED}
"""Plain training -> the arm of the same values with three times the loss."""
