"""Foreign checkpoint files turned into arrays, and arrays into variables."""
