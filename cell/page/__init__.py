"""A page for operators: what a cell, or a control plane with its cells, does now."""
