"""The words shared by all rooms: types, errors, files, the platform, and records of runs."""
