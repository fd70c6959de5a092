"""Controllers: each method runs one transaction, then makes the calls the decision requires."""
