"""Tables as text: CSV, TSV and JSON lines."""
