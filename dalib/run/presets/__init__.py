"""Settings by name: published protocols and the options that override them."""
