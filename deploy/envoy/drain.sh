#!/bin/bash
# Before an Envoy ends: tell clients to go elsewhere (GOAWAY), and wait until their streams have ended, at most $1 seconds.
# Envoy's image has no HTTP client, but a bash that opens sockets.
admin() {
  exec 3<>"/dev/tcp/127.0.0.1/${ADMIN_PORT:-9901}"
  printf '%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$1" "$2" >&3
  cat <&3
}
admin POST '/drain_listeners?graceful&skip_exit' >/dev/null
for ((second = 0; second < $1; second++)); do
  admin GET '/stats?filter=^http.gateway.downstream_rq_active$' | grep -q 'active: 0$' && exit
  sleep 1
done
