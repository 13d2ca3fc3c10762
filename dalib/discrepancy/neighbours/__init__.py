"""Nearest neighbours, hard and soft."""
