"""SSH as both programs speak it: asyncssh's transport and authentication, our connection protocol on top."""
