#!/usr/bin/env bash
# Installs what the peers' tests run against, in pinned versions, into target/peers: oidc-provider and
# Prism and playwright-core (npm), requests, httpx, gRPC, websockets, aiosmtpd, standardwebhooks and
# kubernetes-validate (pip); and
# Chromium, curl, Dovecot, nginx, HAProxy, h2load, systemd-analyze and tinyproxy, where they are not.
# Does nothing if that is done already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=$root/target/peers
mkdir -p "$peers"
exec 9>"$peers/lock" && flock 9 # tests of several processes may come here at once

wanted=$(cat "$here/package-lock.json" "$here/requirements.txt" "$here/install.sh" | sha256sum)
[ "$(cat "$peers/installed" 2>/dev/null)" = "$wanted" ] && exit 0

"$root/.ci/tools" chromium curl dovecot h2load haproxy nginx node npm python3 systemd-analyze tinyproxy
echo "peers: installing into target/peers" >&2
cp "$here/package.json" "$here/package-lock.json" "$peers/"
cd "$peers"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
if [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ]; then
  ln -sf "$(command -v node)" node_modules/.bin/node
else
  echo "peers: this machine's node is older than 20: bringing one" >&2
  npm install --no-save --no-audit --no-fund --loglevel=error node@20 >&2
fi
python3 -m venv --clear python
python/bin/pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
echo "$wanted" >installed
