#!/bin/sh
# Trimtab on a host of a cluster, as cluster.yaml calls it: from its wheel, into ~/trimtab/.venv, nothing compiled.
set -eu
cd ~/trimtab

fail() { echo "trimtab: $(hostname): $1" >&2; exit 1; }

python=${TRIMTAB_PYTHON:-python3}
command -v "$python" >/dev/null || fail "Python 3.11 or newer must be there, got no $python: install python3 and python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python must be 3.11 or newer, got $("$python" --version): name another in TRIMTAB_PYTHON"
set -- trimtab-*.whl
[ $# = 1 ] && [ -f "$1" ] || fail "~/trimtab must hold one wheel, got $*: call make wheel where you call ray up, and remove older ones here"

exec 9>.install.lock
flock 9 # hosts may share a home directory
wanted=$(sha256sum "$1" constraints.txt)
if [ "$(cat .installed 2>/dev/null)" != "$wanted" ]; then
    rm -f .installed
    if [ ! -x .venv/bin/python ]; then
        free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
        [ "$free" -ge 8 ] || fail "8 GiB must be free in ~/trimtab for the environment, got $free"
        "$python" -m venv .venv || fail "$python must have venv: install python3-venv"
    fi
    # shellcheck disable=SC2086 # extras, not a path
    extras=$(command -v nvidia-smi >/dev/null && echo '[gpu]' || true)
    pip=".venv/bin/python -m pip --disable-pip-version-check --quiet"
    $pip install --only-binary :all: --constraint constraints.txt "./$1$extras" || fail "pip could not install $1: what it says stands above"
    $pip install --no-deps --no-index --force-reinstall "./$1" || fail "pip could not install $1: what it says stands above"
    echo "$wanted" >.installed
fi

# `ray down` calls `ray stop` in a shell of the head, which finds this one.
mkdir -p bin
cat >bin/ray <<'RAY'
#!/bin/sh
# Ray's command, but for `ray stop`: on the head of a cluster it ends all of it, HAProxy included.
cd ~/trimtab
[ "${1:-}" = stop ] && exec .venv/bin/python -m deployments node stop --everywhere
exec .venv/bin/python -m ray.scripts.scripts "$@"
RAY
chmod +x bin/ray
grep -qs 'trimtab/bin' ~/.bashrc || echo 'export PATH="$HOME/trimtab/bin:$PATH"' >>~/.bashrc
