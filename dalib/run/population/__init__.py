"""Runs of a grid trained together as one program, and their scores."""
