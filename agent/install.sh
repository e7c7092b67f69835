#!/bin/sh
# Installs the Pilothouse agent on this machine, registers it as a node and keeps it running.
#
#   sh install.sh --url https://HOST:7743 --activation-id ID --activation-code CODE \
#                 [--ca-sha256 FINGERPRINT | --ca FILE] [--region REGION] [--allow-reboot] [--force]
#
# --ca-sha256 is the SHA-256 of the server's ca.pem, as the server prints it: ca.pem is then fetched
# without trust and refused unless it fits. Everything else is fetched over TLS that this CA vouches for.
# With neither --ca-sha256 nor --ca the machine's own certificate authorities count.
# PILOTHOUSE_ACTIVATION_CODE in the environment does instead of --activation-code.

set -eu

say() { printf '%s\n' "pilothouse-agent: $*"; }
fail() { printf '%s\n' "pilothouse-agent: $*" >&2; exit 1; }

find_python() {
    for candidate in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do
        path=$(command -v "$candidate") || continue
        if "$path" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$path"
            return 0
        fi
    done
    return 1
}

# fetch URL FILE: with curl or wget, trusting $ca alone if there is one; "untrusted" as third word trusts nobody.
fetch() {
    if command -v curl >/dev/null; then
        if [ "${3:-}" = untrusted ]; then curl -fsSk --max-time 300 -o "$2" "$1"
        elif [ -n "$ca" ]; then curl -fsS --cacert "$ca" --max-time 300 -o "$2" "$1"
        else curl -fsS --max-time 300 -o "$2" "$1"
        fi
    elif command -v wget >/dev/null; then
        if [ "${3:-}" = untrusted ]; then wget -q --no-check-certificate -O "$2" "$1"
        elif [ -n "$ca" ]; then wget -q --ca-certificate="$ca" -O "$2" "$1"
        else wget -q -O "$2" "$1"
        fi
    else
        fail "neither curl nor wget is here; install one of them and try again."
    fi
}

fetch_ca() {
    fetch "$url/ca.pem" "$scratch/ca.pem" untrusted || fail "cannot fetch $url/ca.pem. Is the server running and reachable?"
    found=$("$python" -I -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' \
        "$scratch/ca.pem")
    wanted=$(printf '%s' "$ca_sha256" | tr -d ':' | tr 'A-F' 'a-f')
    [ "$found" = "$wanted" ] || fail "the CA certificate of $url is not the expected one
  expected SHA-256: $wanted
  found SHA-256:    $found
Somebody may be in between. Nothing was installed."
    ca=$scratch/ca.pem
}

quoted() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g; s/\$/$$/g')"; }

write_unit() {
    cat >"$unit.new" <<UNIT
[Unit]
Description=Pilothouse node agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=$(quoted "$python") -I $(quoted "$program") run --state $(quoted "$state")$reboot
Environment=PILOTHOUSE_AGENT_CACHE=$state/code
Restart=always
RestartSec=2
# Scripts run under supervisors that outlive the agent; only the agent itself is stopped.
KillMode=process
TimeoutStopSec=10

[Install]
WantedBy=multi-user.target
UNIT
    mv -f "$unit.new" "$unit"
}

url='' id='' code=${PILOTHOUSE_ACTIVATION_CODE:-} ca='' ca_sha256='' region='' reboot='' force=''
program=/usr/local/bin/pilothouse-agent
state=/var/lib/pilothouse-agent
unit=/etc/systemd/system/pilothouse-agent.service

while [ $# -gt 0 ]; do
    case $1 in
        --allow-reboot) reboot=' --allow-reboot'; shift; continue ;;
        --force) force=--force; shift; continue ;;
    esac
    [ $# -ge 2 ] || fail "$1 needs a value."
    case $1 in
        --url) url=${2%/} ;;
        --activation-id) id=$2 ;;
        --activation-code) code=$2 ;;
        --ca) ca=$2 ;;
        --ca-sha256) ca_sha256=$2 ;;
        --region) region=$2 ;;
        --program) program=$2 ;;
        --state) state=$2 ;;
        --unit) unit=$2 ;;
        *) fail "$1 is not an option of this script." ;;
    esac
    shift 2
done

case $url in https://?*) ;; *) fail "--url must look like https://HOST:7743." ;; esac
[ -n "$id" ] || fail "--activation-id is missing; make one with: aws ssm create-activation --iam-role NODE_ROLE"
[ -n "$code" ] || fail "--activation-code is missing; it was shown when the activation was made."
[ -z "$ca" ] || [ -r "$ca" ] || fail "the CA file $ca cannot be read."
[ "$(uname -s)" = Linux ] || fail "the agent runs on Linux; this is $(uname -s)."
python=$(find_python) || fail "Python 3.11 or later is needed and was not found. Install it (Debian: apt install python3)."
umask 077
mkdir -p "$(dirname "$program")" "$state" 2>/dev/null && [ -w "$(dirname "$program")" ] && [ -w "$state" ] \
    || fail "$(dirname "$program") or $state cannot be written. Run this as root."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
[ -z "$ca_sha256" ] || [ -n "$ca" ] || fetch_ca

say "fetching the agent from $url"
fetch "$url/agent/pilothouse-agent.pyz" "$scratch/agent" || fail "cannot fetch $url/agent/pilothouse-agent.pyz."
export PILOTHOUSE_AGENT_CACHE="$state/code"
version=$("$python" -I "$scratch/agent" --version) || fail "the fetched agent does not run here; nothing was installed."
cp "$scratch/agent" "$program.new"
chmod 755 "$program.new"
mv -f "$program.new" "$program"
say "installed $version as $program"

set -- register --url "$url" --activation-id "$id" --state "$state"
[ -z "$ca" ] || set -- "$@" --ca "$ca"
[ -z "$region" ] || set -- "$@" --region "$region"
[ -z "$force" ] || set -- "$@" "$force"
PILOTHOUSE_ACTIVATION_CODE=$code "$python" -I "$program" "$@" || exit 1

if [ -d /run/systemd/system ] || [ "$unit" != /etc/systemd/system/pilothouse-agent.service ]; then
    write_unit
fi
if [ -d /run/systemd/system ] && [ "$unit" = /etc/systemd/system/pilothouse-agent.service ]; then
    systemctl daemon-reload
    systemctl enable pilothouse-agent.service >/dev/null 2>&1
    systemctl restart pilothouse-agent.service
    say "running as the service pilothouse-agent; its log: journalctl -u pilothouse-agent"
else
    say "there is no systemd here. Have your init system run this, and start it again when it ends:"
    say "  PILOTHOUSE_AGENT_CACHE=$state/code $python -I $program run --state $state$reboot"
fi
