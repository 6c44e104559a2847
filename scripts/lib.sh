# Shared by the scripts beside it: how they speak, and how they install what the system lacks. Sourced, not run.

say() { printf '==> %s\n' "$*" >&2; }

# die SENTENCE [WHAT TO DO]...: one line each, then failure.
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# apt_install PACKAGE...: true if they are installed now. Says on stderr what it does; never asks a question.
apt_install() {
    command -v apt-get >/dev/null || return 1
    local as_root=(env)
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || return 1
        # Without a terminal nobody can type a password.
        if [ -t 0 ]; then as_root=(sudo); else as_root=(sudo -n); fi
    fi
    say "installing $* (apt-get)"
    local log
    log=$(mktemp)
    # What apt-get tells is of interest only if it fails; a question for a password goes to the terminal.
    "${as_root[@]}" apt-get update -qq >"$log" 2>&1 || cat "$log" >&2
    if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1; then
        rm -f "$log"
        return
    fi
    cat "$log" >&2
    rm -f "$log"
    return 1
}
