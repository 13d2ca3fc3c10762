"""Methods that train against a classifier, a critic or a second head."""
