"""Methods for domains whose label sets differ."""
