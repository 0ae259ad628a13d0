#!/usr/bin/env bash
# Three machines of their own: a sidecar's, the whitelisted host's and the vendor's, each a network namespace.
# The vendor is reached from the host alone. Certificates are made as docs/two-hops.md says. Run it by
# `unshare --map-root-user --net --mount --pid --fork --mount-proc two_hops.sh BEARERD VENDOR.PY`; it prints what each call brought.
set -euo pipefail
bearerd=$1 vendor=$2
folder=$(mktemp -d) && cd "$folder" && trap 'rm -rf "$folder"' EXIT

# This namespace is the host; the others are those of two processes that only sleep.
machine() { # NAME NETWORK: its end has .2, the host's .1
  unshare --net sleep 600 & local id=$!
  until [ "$(readlink "/proc/$id/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
  ip link add "$1" type veth peer name to-host netns "$id"
  ip addr add "$2.1/24" dev "$1" && ip link set "$1" up
  nsenter --net="/proc/$id/ns/net" sh -c "ip addr add $2.2/24 dev to-host && ip link set to-host up && ip link set lo up"
  printf '%s' "/proc/$id/ns/net" >"$1.net"
}
in_machine() { local name=$1 && shift && nsenter --net="$(cat "$name.net")" "$@"; }
ip link set lo up
machine shop 10.77.1
machine vendor 10.77.2
ip addr add 10.77.2.10/24 dev vendor # the address that the vendor knows

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
  -keyout ca.key -out ca.pem -subj "/CN=bearerd hops" -addext "basicConstraints=critical,CA:TRUE" 2>/dev/null
issue() { # NAME PURPOSE ADDRESS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null &&
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out "$1.pem" \
    -extfile <(printf 'subjectAltName=DNS:%s%s\nextendedKeyUsage=%s\n' "$1" "${3:+,IP:$3}" "$2") 2>/dev/null; }
issue gateway.internal serverAuth 10.77.1.1
issue shop.internal clientAuth
openssl rand -hex 32 >hop-token
openssl rand -hex 32 >vendor-token
chmod 600 hop-token vendor-token ./*.key

cat >host.toml <<END
[admin]
listen = "unix:host.sock"
[listeners.hops]
bind = "10.77.1.1:8443"
allow = { names = ["shop.internal"], bearer = { file = "hop-token" } }
tls = { cert = "gateway.internal.pem", key = "gateway.internal.key", client_ca = "ca.pem" }
[egress.whitelisted]
source = "10.77.2.10"
expect_address = { url = "http://10.77.2.2:8000/address" }
[credentials.vendor]
flow = "static"
token = { file = "vendor-token" }
expires = "never"
egress = "whitelisted"
[routes.vendor]
path = "/vendor"
upstream = "http://10.77.2.2:8000"
credential = "vendor"
allow_plaintext = true
remove = ["X-Hop"]
END
sidecar() { # NAME PORT EGRESS
  cat >"$1.toml" <<END
[admin]
listen = "unix:$1.sock"
[listeners.app]
bind = "127.0.0.1:$2"
[egress.host]
ca = "ca.pem"
$3
[credentials.hop]
flow = "static"
token = { file = "hop-token" }
expires = "never"
[routes.host]
upstream = "https://10.77.1.1:8443"
credential = "hop"
egress = "host"
inject = { headers = { Authorization = "Bearer {token}", X-Hop = "shop" } }
END
  in_machine shop "$bearerd" run --config "$1.toml" 2>"$1.log" &
}
in_machine vendor python3 "$vendor" 10.77.2.10 vendor-token hop-token &
until curl --silent --output /dev/null http://10.77.2.2:8000/address; do sleep 0.1; done
"$bearerd" run --config host.toml 2>host.log &
sidecar right 8080 'client_cert = "shop.internal.pem"
client_key = "shop.internal.key"'
sidecar bare 8081 ''

call() { in_machine shop curl --silent --max-time 5 "$@"; }
for try in $(seq 100); do
  [ "$(call --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8080/vendor/ready || true)" = 200 ] && break
  [ "$try" = 100 ] && cat ./*.log >&2 && exit 1
  sleep 0.2
done
until call --output /dev/null http://127.0.0.1:8081/; do sleep 0.1; done
echo "through: $(call http://127.0.0.1:8080/vendor/accounts/7)"
echo "without a certificate: $(call http://127.0.0.1:8081/vendor/accounts/7 | sed 's/.*"code":"\([a-z_]*\)".*/\1/')"
echo "straight: $(in_machine shop curl --silent --max-time 2 http://10.77.2.2:8000/accounts/7 || echo unreachable)"
echo "the address: $(curl --silent --unix-socket host.sock http://localhost/metrics | grep 'state="expected"')"
