#!/bin/sh
# Installs NCM Edge on this PC from the files beside this script; no network is used.
#
#   ./install.sh --dry-run        check everything and show what would be done
#   sudo ./install.sh --start     install, enable and start
#
# Options of its own: --dry-run, --prefix DIR (default /opt/ncm-edge), PYTHON=... in the environment.
# Every other option goes to `ncm-edge install` (--site DIR, --offline, --downgrade ...).
# Exit codes: 0 done; 1 something failed, run it again; 2 not possible here, nothing was done.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=/opt/ncm-edge
dry=
count=$#
while [ "$count" -gt 0 ]; do
  option=$1
  shift
  count=$((count - 1))
  case $option in
    --prefix)
      [ "$count" -gt 0 ] || { echo "--prefix wants a folder" >&2; exit 2; }
      prefix=$1
      shift
      count=$((count - 1))
      ;;
    --dry-run) dry=1 ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) set -- "$@" "$option" ;;
  esac
done

refuse() {
  echo "install.sh: $1" >&2
  exit 2
}
field() { sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" "$here/manifest.json"; }

case $prefix in
  /*[!A-Za-z0-9._/-]* | [!/]*) refuse "--prefix $prefix: expected an absolute path of plain characters" ;;
esac
(cd "$here" && sha256sum --check --strict --quiet SHA256SUMS) ||
  refuse "the archive is damaged or incomplete; unpack it again, or fetch it again"

version=$(field version)
abi=$(field abi)
machine=$(field machine)
[ "$(uname -m)" = "$machine" ] || refuse "made for $machine, this machine is $(uname -m)"
python=${PYTHON:-}
if [ -z "$python" ]; then
  for name in "python$abi" python3; do
    if command -v "$name" >/dev/null; then
      python=$(command -v "$name")
      break
    fi
  done
fi
# -I: root must not run a module that lies in whatever folder this was called from.
[ -n "$python" ] || refuse "Python $abi is not installed (on Debian: the package python3)"
found=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
  refuse "$python does not run"
[ "$found" = "$abi" ] ||
  refuse "made for Python $abi, $python is $found; PYTHON=/path/to/python$abi ./install.sh"
real=$("$python" -I -c 'import os, sys; print(os.path.realpath(sys.executable))')
case $real in
  /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
    refuse "$python is $real, which the service cannot see; PYTHON=/usr/bin/python$abi ./install.sh"
    ;;
esac
"$python" -I -c 'import venv' || refuse "Python's venv module is missing (on Debian: python3-venv)"

case $version in
  [0-9]*) ;;
  *) refuse "the manifest names no version; fetch the archive again" ;;
esac
venv=$prefix/$version
# The link that says which version runs; anything else of this name is somebody else's.
before=$(readlink -- "$prefix/bin" || true)
case $before in
  [0-9]*/bin) ;;
  *) [ ! -e "$prefix/bin" ] && [ -z "$before" ] ||
    refuse "$prefix/bin is no link of this installation; choose another --prefix" ;;
esac
if [ -n "$dry" ]; then
  echo "archive is whole; Python $found is $python"
  echo "would make   $venv (venv, $(grep -c . "$here/requirements.txt") packages, hashes checked)"
  echo "would link   $prefix/bin -> $version/bin"
  echo "would run    $prefix/bin/ncm-edge install --program $prefix/bin/ncm-edge $*"
  exit 0
fi
[ "$(id -u)" = 0 ] || refuse "only root may install: sudo ./install.sh"

if [ ! -e "$venv/.complete" ]; then
  rm -rf -- "$venv"
  mkdir -p -- "$prefix"
  chmod 755 -- "$prefix"
  "$python" -I -m venv --without-pip -- "$venv"
  pip=$(ls "$here"/wheels/pip-*.whl)
  # Isolated from pip's settings and from any registry: only what lies here, only with these hashes.
  if ! PIP_CONFIG_FILE=/dev/null "$venv/bin/python" -I "$pip/pip" --isolated install \
    --disable-pip-version-check --no-cache-dir --quiet --no-index --no-deps --require-hashes \
    --find-links "$here/wheels" -r "$here/requirements.txt"; then
    rm -rf -- "$venv"
    echo "install.sh: the packages could not be installed; $venv was removed" >&2
    exit 1
  fi
  sync
  : >"$venv/.complete"
fi

link() { ln -sfn -- "$1" "$prefix/bin.new" && mv -T -- "$prefix/bin.new" "$prefix/bin"; }
link "$version/bin"
code=0
"$prefix/bin/ncm-edge" install --program "$prefix/bin/ncm-edge" "$@" || code=$?
if [ "$code" = 2 ]; then
  # Nothing was installed: what ran before goes on to be what runs.
  if [ -n "$before" ]; then link "$before"; else rm -f -- "$prefix/bin"; fi
fi
exit "$code"
