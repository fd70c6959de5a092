"""HTTP router for a few cells on one machine: ``cell router``, the compose cell and `cell dev`.

It follows the routes of DesiredLRPs (``cf-router``) and the running instances in the BBS. A fleet has the
platform's own router and route emitter instead.
"""
