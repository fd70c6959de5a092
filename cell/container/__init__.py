"""What the container image runs: ``python -m cell.container ROLE``.

A role prepares its certificates and configuration and then runs the usual command. The cell also runs a
container engine of its own. The roles are the services of ``packaging/compose/compose.yaml``.
"""
