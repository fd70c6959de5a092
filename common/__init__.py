"""What programs inside containers and the agent share. Imports no other package of ours."""
