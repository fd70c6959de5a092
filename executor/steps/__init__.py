"""Steps: the units of work that run in a container.

There is one module per action (``run``, ``download``, ``upload``, ``serial``, ``parallel``, ``codependent``,
``timeout``, ``try_``, ``emit_progress``). ``check`` probes ports, ``health`` watches with probes, ``group``
adds the renewal of credentials. ``base`` defines a step and its interruption, ``children`` runs several at
once, ``context`` holds what they use, ``actions``, ``probes`` and ``tree`` build steps from actions, and
``trace`` records their events.
"""
