"""Documents that are made from the code: the reference of the configuration keys and the manual pages."""
