"""Controllers: each method is one transaction, followed by calls where a decision asks for them."""
