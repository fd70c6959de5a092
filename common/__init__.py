"""Code shared by the agent and the programs inside containers. Imports no other package of ours."""
