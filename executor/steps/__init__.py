"""Steps: the units of work that run in a container.

There is one module per action (``run``, ``download``, ``upload``, ``serial``, ``parallel``, ``codependent``,
``timeout``, ``try_``, ``emit_progress``), per watching step (``eventually``, ``consistently``, ``check``,
``health_check``, ``readiness``) and per wrapper (``timed``, ``background``, ``throttle``,
``output_wrapper``). ``base`` defines a step and its interruption, ``combine`` joins errors, ``actions`` and
``tree`` build steps from actions, ``trace`` records their events.
"""
