#!/bin/sh
# Makes the virtual environment that the Makefile runs everything in, or leaves it alone when it
# still fits: the same requirement files, Python and ROS. Called by make; PYTHON, REQUIREMENTS and
# VENV come from there.
set -eu

: "${VENV:?}" "${REQUIREMENTS:?}"
stamp="$VENV/.requirements"

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

# The tools of this checkout as one command, wherever it is called from. Written each time, as the
# checkout may have been moved.
write_tool() {
    cat >"$VENV/bin/.alpamayo.$$" <<END
#!/bin/sh
# alpamayo COMMAND, from the source tree $PWD
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
export RMW_IMPLEMENTATION="\${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
export PYTHONPATH="$PWD\${PYTHONPATH:+:\$PYTHONPATH}"
exec "$(cd "$VENV/bin" && pwd)/python" -m alpamayo_ros.cli.main "\$@"
END
    chmod +x "$VENV/bin/.alpamayo.$$"
    mv "$VENV/bin/.alpamayo.$$" "$VENV/bin/alpamayo"
}

suits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not a program; expected a Python 3.10 to 3.12"
    suits "$PYTHON" ||
        fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 || true); expected Python 3.10 to 3.12"
    python=$PYTHON
else
    python=
    for candidate in python3 python3.12 python3.11 python3.10; do
        if suits "$candidate"; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] ||
        fail "no Python 3.10 to 3.12 found (python3 is $(python3 --version 2>&1 || true)); install one, or name it: make PYTHON=..."
fi
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')

# A sourced ROS 2 is used as it is; the wheels must not be mixed with it.
ros=wheels
site=
shared=false
if [ -n "${ROS_DISTRO:-}" ]; then
    "$python" -c 'import rclpy' >/dev/null 2>&1 ||
        fail "ROS 2 $ROS_DISTRO is sourced, but $python ($version) cannot import rclpy; use the Python of that ROS (make PYTHON=/usr/bin/python3), or a shell in which no ROS is sourced"
    ros=$ROS_DISTRO
    site=--system-site-packages
    shared=true
fi

files=
for name in $REQUIREMENTS; do
    if [ "$name" != ros ] || [ "$ros" = wheels ]; then
        files="$files requirements/$name.txt"
    fi
done
wanted="python $version, ros $ros, $(cat $files | cksum)"

if [ -x "$VENV/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] &&
    "$VENV/bin/python" -c '' 2>/dev/null; then
    write_tool
    exit 0
fi

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; on Debian and Ubuntu: apt install python${version%.*}-venv"

# Requirements that changed are installed over the old ones; another Python or ROS starts afresh.
clear=--clear
if "$VENV/bin/python" -c "import platform, sys; sys.exit(platform.python_version() != '$version')" \
    2>/dev/null && grep -q "^include-system-site-packages = $shared\$" \
    "$VENV/pyvenv.cfg" 2>/dev/null; then
    clear=
fi
printf 'setup: %s for Python %s, ROS from %s. The first time takes minutes and about 2 GB.\n' \
    "$VENV" "$version" "$ros"
rm -f "$stamp"
"$python" -m venv $clear $site "$VENV"
set --
for file in $files; do
    set -- "$@" -r "$file"
done
"$VENV/bin/python" -m pip install --disable-pip-version-check --no-input "$@"
printf '%s\n' "$wanted" >"$stamp"
write_tool
