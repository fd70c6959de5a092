"""The journal: what must survive a restart of the agent, in one SQLite file of the state folder."""
