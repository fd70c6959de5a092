"""Calls that the control plane makes: to reps, to callbacks of Tasks, and to the auctioneer."""
