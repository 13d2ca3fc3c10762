"""Inputs of the experiments that several of them share."""
