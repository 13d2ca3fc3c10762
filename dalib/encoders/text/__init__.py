"""Encoders of token ids, each with the rule table of its published weights."""
