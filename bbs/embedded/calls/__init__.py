"""Outgoing calls of the control plane: to reps, to task callbacks, and to the auctioneer."""
