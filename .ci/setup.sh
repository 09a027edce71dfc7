#!/bin/sh
# Make this checkout runnable: missing system packages, a venv, drift in it.
#
#   .ci/setup.sh run    what `drift demo` needs
#   .ci/setup.sh dev    that, and what the tests and linters need
#
# With nothing to do it takes a blink, so every make target calls it. As root it
# installs what is missing; as anybody else it says what to run and goes on.
set -eu

mode=${1:?run or dev}
venv=.venv
# Root's programs live in sbin, which a user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { echo "setup: $*" >&2; }
fail() {
    say "$*"
    exit 3
}
has() { command -v "$1" >/dev/null 2>&1; }

# quietly COMMAND...: its words only when it fails.
quietly() {
    if ! "$@" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
}

# --- Python

runs_drift() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv_and_headers() {
    "$1" -c '
import ensurepip, os, sys, sysconfig, venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null
}

# The first Python that is complete, else the first that is new enough.
find_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        runs_drift "$candidate" && has_venv_and_headers "$candidate" && echo "$candidate" && return
    done
    for candidate in python3.13 python3.12 python3.11 python3; do
        runs_drift "$candidate" && echo "$candidate" && return
    done
    return 1
}

# --- System packages

find_manager() {
    for manager in apt-get dnf pacman zypper apk; do
        has "$manager" && echo "$manager" && return
    done
    echo none
}

# The needs that this machine does not meet, one word each.
missing() {
    if ! "$venv/bin/python" -c 'import btrfsutil, pip' 2>/dev/null; then
        if ! python=$(find_python) || ! has_venv_and_headers "$python"; then echo python; fi
        has cc || has gcc || echo compiler
        # Without a compiler the header can't be looked for; ask for it as well.
        { has cc && cc -E -x c -include btrfsutil.h /dev/null >/dev/null 2>&1; } || echo library
    fi
    has mkfs.btrfs || echo btrfs
    { has losetup && has mount && has unshare; } || echo mount
    if [ "$mode" = dev ]; then
        has nix-instantiate || echo nix
        has ncdu || echo ncdu
        has systemd-analyze || echo systemd
    fi
}

# What the package manager calls a need.
packages() {
    case $manager:$1 in
    apt-get:python)
        if python=$(find_python); then
            python=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        else
            python=python3
        fi
        echo "$python" "$python-venv" "$python-dev"
        ;;
    apt-get:compiler) echo gcc libc6-dev ;;
    apt-get:library) echo libbtrfsutil-dev ;;
    apt-get:mount) echo mount util-linux ;;
    apt-get:nix) echo nix-bin ;;
    dnf:python) echo python3 python3-devel ;;
    dnf:library) echo btrfs-progs-devel ;;
    pacman:python) echo python ;;
    pacman:library) echo btrfs-progs ;;
    zypper:python) echo python311 python311-devel ;;
    zypper:library) echo libbtrfsutil-devel ;;
    zypper:btrfs) echo btrfsprogs ;;
    apk:python) echo python3 python3-dev ;;
    apk:compiler) echo gcc musl-dev ;;
    apk:library) echo btrfs-progs-dev ;;
    *:python) echo python3 ;;
    *:compiler) echo gcc ;;
    *:library) echo libbtrfsutil ;;
    *:btrfs) echo btrfs-progs ;;
    *:ncdu) echo ncdu ;;
    *:systemd) echo systemd ;;
    *:mount) echo util-linux ;;
    *:nix) echo nix ;;
    esac
}

# The command to install with, as a person types it, and what silences its questions.
command_of() {
    case $manager in
    apt-get) echo apt-get install ;;
    dnf) echo dnf install ;;
    pacman) echo pacman -S ;;
    zypper) echo zypper install ;;
    apk) echo apk add ;;
    esac
}
silence_of() {
    case $manager in
    apt-get) echo -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 ;;
    dnf) echo -y -q ;;
    pacman) echo -y --needed --noconfirm ;;
    zypper) echo -y --no-recommends ;;
    apk) echo --quiet ;;
    esac
}

install() {
    if [ "$manager" = apt-get ]; then
        ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || quietly apt-get update -qq || return 1
        # shellcheck disable=SC2046
        $(command_of) $(silence_of) "$@" >"$log" 2>&1 && return
        quietly apt-get update -qq || return 1 # the lists may be older than the archive
    fi
    # shellcheck disable=SC2046
    quietly $(command_of) $(silence_of) "$@"
}

meet_needs() {
    needs=$(missing)
    if [ -z "$needs" ]; then return; fi
    manager=$(find_manager)
    names=
    for need in $needs; do names="$names $(packages "$need")"; done
    if [ "$manager" = none ]; then
        if has nix-shell; then
            say "on Nix, run: nix-shell -p gnumake gcc python3 btrfs-progs util-linux --run 'make ...'"
        else
            say "no package manager that drift knows; missing here:$names"
        fi
    elif [ "$(id -u)" -ne 0 ]; then
        say "as root, run: $(command_of)$names"
    else
        say "installing$names"
        # shellcheck disable=SC2086
        if ! install $names; then
            # One name that this system does not have must not stop the rest.
            # shellcheck disable=SC2046
            for need in $needs; do install $(packages "$need") || say "could not install $need"; done
        fi
    fi
    # Without Btrfs tools or Nix the demo and the tests do what they can; without these, nothing.
    for need in $(missing); do
        case $need in python | compiler | library) fail "drift can't be installed without them" ;; esac
    done
}

# --- The venv

# The newest btrfsutil that imports. It has to match the machine's libbtrfsutil:
# 6.14 is the first that needs btrfs_util_subvolume_is_valid, so where the
# library lacks it there is no point in building anything newer.
install_binding() {
    if "$venv/bin/python" -c 'import btrfsutil' 2>/dev/null; then return; fi
    wanted='btrfsutil>=6.10'
    "$venv/bin/python" -c '
import ctypes
ctypes.CDLL("libbtrfsutil.so.1").btrfs_util_subvolume_is_valid' 2>/dev/null || wanted="$wanted,<6.14"
    while true; do
        version=$("$venv/bin/python" -m pip install -q --dry-run --no-deps --ignore-installed \
            --report - "$wanted" 2>"$log" | "$venv/bin/python" -c '
import json, sys
print(json.load(sys.stdin)["install"][0]["metadata"]["version"])' 2>/dev/null) || {
            tail -n 15 "$log" >&2
            fail "no btrfsutil ($wanted) works with this machine's libbtrfsutil"
        }
        if "$venv/bin/python" -m pip install -q --no-deps "btrfsutil==$version" >"$log" 2>&1 &&
            "$venv/bin/python" -c 'import btrfsutil' 2>>"$log"; then
            say "btrfsutil $version matches this machine's libbtrfsutil"
            return
        fi
        say "btrfsutil $version does not: $(tail -n 1 "$log")"
        wanted="$wanted,<$version"
    done
}

make_venv() {
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        python=$(find_python) || fail "drift needs Python 3.11 or later"
        say "making $venv with $("$python" --version)"
        quietly "$python" -m venv --clear "$venv" || fail "could not make $venv"
    fi
    install_binding
    # The stamp is a copy: it tells a changed pyproject.toml whatever its date says.
    if cmp -s pyproject.toml "$venv/.drift-$mode"; then return; fi
    case $mode in
    run) what=. ;;
    dev) what='.[dev]' ;;
    esac
    say "installing drift into $venv"
    quietly "$venv/bin/python" -m pip install -q -e "$what" || fail "could not install drift"
    cp pyproject.toml "$venv/.drift-run"
    if [ "$mode" = dev ]; then cp pyproject.toml "$venv/.drift-dev"; fi
}

case $mode in run | dev) ;; *) fail "run or dev, not $mode" ;; esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
meet_needs
make_venv
