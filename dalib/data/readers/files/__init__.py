"""Foreign files at the door: which are read, what their names say, and what they may unpack to."""
