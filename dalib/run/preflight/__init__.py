"""The real training step compiled for TPUs that are not there: does it fit, what does it send, how fast could it be."""
