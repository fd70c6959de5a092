"""HTTP API of the BBS: handlers per topic; ``app`` adds them to the routes."""
