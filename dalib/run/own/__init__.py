"""Adaptation on users' own data."""
