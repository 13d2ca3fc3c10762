"""Readers of files: images, folders, text, tables, archives, tensorflow-datasets."""
