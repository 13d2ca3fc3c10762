"""Methods for domains with different label sets."""
