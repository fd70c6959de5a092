"""What a container runs: the grammar of steps.

One file per action (``run``, ``download``, ``upload``, ``serial``, ``parallel``, ``codependent``,
``timeout``, ``try_``, ``emit_progress``) and per part of the tree that watches it (``eventually``,
``consistently``, ``check``, ``health_check``, ``readiness``) or wraps another (``timed``, ``background``,
``throttle``, ``output_wrapper``). ``base`` says what a step is and how it is interrupted, ``combine`` how
errors become one, ``actions`` and ``tree`` how actions become steps, ``story`` what is told of them.
"""
