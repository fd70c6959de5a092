# What drain and post-start share: where the cell's admin side is, and how to ask it.
#
# REP_CONFIG names the rep.json (default /etc/diego-cell/rep.json). Its keys listen_addr, ca_cert_file, cert_file
# and key_file say where to ask, and with which identity; without a certificate the question is plain HTTP.

REP_CONFIG="${REP_CONFIG:-/etc/diego-cell/rep.json}"

# Exit statuses of curl.
NOBODY_LISTENS=7
LATE=28

require_programs() {
  command -v curl >/dev/null && command -v python3 >/dev/null && return
  say "curl and python3 are needed"
  return 1
}

# The value of a string key of the file's top level, or the second argument.
setting() {
  python3 - "$REP_CONFIG" "$1" "${2:-}" <<'PYTHON'
import json
import sys

path, key, default = sys.argv[1:]
with open(path) as file:
    print(json.load(file).get(key) or default)
PYTHON
}

read_settings() {
  address="$(setting listen_addr 127.0.0.1:1800)" || return 1
  case "$address" in
    0.0.0.0:* | :*) address="127.0.0.1:${address##*:}" ;; # it listens everywhere, here as well
  esac
  ca="$(setting ca_cert_file)" && cert="$(setting cert_file)" && key="$(setting key_file)" || return 1
  scheme=http
  identity=""
  if [ -n "$cert" ]; then
    scheme=https
    identity=yes
  fi
}

# ask METHOD PATH: the answer's body; fails, with curl's exit status, unless the answer's status is below 400.
ask() {
  if [ -n "$identity" ]; then
    curl --silent --show-error --fail --max-time "${ASK_TIMEOUT:-10}" --request "$1" \
      --cacert "$ca" --cert "$cert" --key "$key" "$scheme://$address$2"
  else
    curl --silent --show-error --fail --max-time "${ASK_TIMEOUT:-10}" --request "$1" "$scheme://$address$2"
  fi
}
