"""Damage done on purpose: hostile files, kills, bad input."""
