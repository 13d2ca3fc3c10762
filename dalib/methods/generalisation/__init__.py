"""Methods that generalise from several sources to a domain never seen."""
