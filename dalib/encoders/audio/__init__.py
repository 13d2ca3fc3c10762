"""Encoders of waveforms, with the rule tables of their published weights."""
