"""The command ``dalib``: a table of subcommands, and those that have no other home."""
