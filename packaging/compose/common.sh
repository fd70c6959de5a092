# What up and down share: Compose v2 or docker-compose, and the folder of the client's files.

CLIENT="${CLIENT:-.cache/compose-client}"

compose() {
  if docker compose version >/dev/null 2>&1; then
    docker compose -f packaging/compose/compose.yaml "$@"
  elif command -v docker-compose >/dev/null; then
    docker-compose -f packaging/compose/compose.yaml "$@"
  else
    echo "compose: neither 'docker compose' nor docker-compose is installed" >&2
    return 1
  fi
}
