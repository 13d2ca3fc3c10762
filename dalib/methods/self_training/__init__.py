"""Methods that learn from the net's own predictions on the target."""
