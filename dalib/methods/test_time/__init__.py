"""Methods that adapt a trained net while it predicts."""
