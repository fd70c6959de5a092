"""Documents that are made from the code: references, manual pages, failure texts."""
