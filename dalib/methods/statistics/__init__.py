"""Methods that match statistics of features."""
