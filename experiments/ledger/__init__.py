"""The ledger: published numbers and ours."""
