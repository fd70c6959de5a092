"""The support bundle: what is wrong with a cell, in one file that may be handed on."""
