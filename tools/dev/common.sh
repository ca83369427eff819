# SPDX-License-Identifier: Apache-2.0
# Shared by the developer scripts: where things are kept, and how they speak. Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Everything that is downloaded or built outside the tree: kernels, root file systems, the box's own kernel.
# Each entry's name carries a hash of what it was made from, so a stale entry is never used.
# Root's is one that ordinary users can read, because the VM tests run as one.
if [ "$(id -u)" = 0 ]; then
	cache_dir=${LVM_DEV_CACHE:-/var/cache/lvm-dev}
else
	cache_dir=${LVM_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lvm-dev}
fi

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 125; }

# Runs the arguments as root: as they are, by sudo, or not at all.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null; then sudo "$@"
	else die "'$1' needs root and sudo is not installed; run this as root"
	fi
}

# Hash of the arguments and of the files among them: the key of a cache entry.
content_key() {
	local a
	for a in "$@"; do
		if [ -f "$a" ]; then cat "$a"; else printf '%s\0' "$a"; fi
	done | sha256sum | cut -c1-16
}
