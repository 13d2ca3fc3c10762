"""Encoders of images, each with the rule table of its published weights."""
