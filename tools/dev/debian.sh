# SPDX-License-Identifier: Apache-2.0
# Packages of any Debian suite for the developer scripts, by an apt of our own. Sourced after common.sh.
#
# apt runs with lists, cache and configuration inside the cache directory: the system's are read (mirror,
# proxy, keys) and never written, so this needs no root and cannot disturb the system's apt.

# Prints the mirror (a URI with a slash at its end) the system uses for $1: Debian, or Debian-Security.
# LVM_DEBIAN_MIRROR and LVM_DEBIAN_SECURITY_MIRROR name one where the system is no Debian.
debian_mirror() {
	local uri=
	case $1 in
	Debian) uri=${LVM_DEBIAN_MIRROR:-} ;;
	Debian-Security) uri=${LVM_DEBIAN_SECURITY_MIRROR:-} ;;
	esac
	[ -n "$uri" ] || uri=$(apt-get indextargets --format '$(LABEL) $(RELEASE) $(REPO_URI)' 2>/dev/null |
		awk -v want="$1" '
			$1 == want { print $3; exit }
			# Before the first "apt-get update" there is no label: go by the suite.
			NF < 3 && $1 ~ /-security$/ && want == "Debian-Security" { print $2; exit }
			NF < 3 && $1 !~ /-security$/ && want == "Debian" { print $2; exit }')
	[ -n "$uri" ] || return 1
	printf '%s/\n' "${uri%/}"
}

# Prints sources.list lines for suite $1: the suite, and its security updates where a mirror is known.
debian_sources() {
	local key=/usr/share/keyrings/debian-archive-keyring.gpg mirror
	[ -f "$key" ] && key="[signed-by=$key]" || key=
	mirror=$(debian_mirror Debian) ||
		die "cannot tell this system's Debian mirror; set LVM_DEBIAN_MIRROR to one"
	printf 'deb %s %s %s main\n' "$key" "$mirror" "$1"
	if mirror=$(debian_mirror Debian-Security); then
		printf 'deb %s %s %s-security main\n' "$key" "$mirror" "$1"
	fi
}

# Runs "$3 $4…" (an apt program) for architecture $1 and suite $2.
debian_apt() {
	local arch=$1 suite=$2 dir=$cache_dir/apt/$1-$2
	shift 2
	APT_CONFIG=$dir/apt.conf "$1" -o "APT::Architecture=$arch" "${@:2}"
}

# Makes the apt directories of architecture $1 and suite $2, and fetches the lists unless they are fresh.
# Takes the lock of that directory: descriptor 8 stays open, so call it in a subshell.
debian_update() {
	local arch=$1 suite=$2 dir=$cache_dir/apt/$1-$2 quiet=-qq
	command -v apt-get >/dev/null || die "getting Debian packages needs apt-get, which is not installed"
	mkdir -p "$dir"/{lists/partial,archives/partial,parts,preferences.d}
	exec 8>"$dir/lock"
	flock 8
	# Only what concerns fetching is taken from the system's settings: its hooks are not ours to run.
	{
		apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets'
		printf 'Dir::Etc "%s";\nDir::Etc::sourcelist "sources.list";\n' "$dir"
		printf 'Dir::Etc::parts "parts";\nDir::Etc::sourceparts "parts";\n'
		printf 'Dir::Etc::trusted "/etc/apt/trusted.gpg";\n'
		printf 'Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";\n'
		printf 'Dir::State "%s";\nDir::State::lists "lists";\nDir::State::status "%s";\n' "$dir" "$dir/status"
		printf 'Dir::Cache "%s";\nDir::Cache::archives "archives";\n' "$dir"
		printf 'APT::Architectures { "%s"; };\nAcquire::Languages "none";\n' "$arch"
		# The cache may lie where apt's own user cannot write.
		printf 'APT::Sandbox::User "";\n'
	} >"$dir/apt.conf"
	: >"$dir/status"
	debian_sources "$suite" >"$dir/sources.list.new"
	if cmp -s "$dir/sources.list.new" "$dir/sources.list" &&
	   [ -n "$(find "$dir/updated" -mmin -60 2>/dev/null)" ]; then
		return 0
	fi
	mv "$dir/sources.list.new" "$dir/sources.list"
	[ ! -t 2 ] || quiet=-q=0
	say "reading the package lists of Debian $suite ($arch)"
	debian_apt "$arch" "$suite" apt-get $quiet update >&2 ||
		die "cannot read the package lists of Debian $suite; check the network and try again"
	touch "$dir/updated"
}

# Prints the newest version of package $3.
debian_version() {
	debian_apt "$1" "$2" apt-cache --no-all-versions show "$3" 2>/dev/null |
		awk '$1 == "Version:" { print $2; found = 1; exit } END { exit !found }'
}

# Prints the names in package $3's dependencies (newest version) that match the extended regex $4.
debian_depends() {
	debian_apt "$1" "$2" apt-cache --no-all-versions show "$3" | sed -n 's/^Depends: //p' | head -n1 |
		tr ',|' '\n\n' | sed 's/^ *//; s/ .*//' | grep -E "^($4)$" || true
}

# Downloads the newest package $3 and unpacks it in directory $4.
debian_unpack() {
	local arch=$1 suite=$2 pkg=$3 into=$4 quiet=-qq tmp
	[ ! -t 2 ] || quiet=-q=0
	mkdir -p "$into"
	tmp=$(mktemp -d "$into/.deb.XXXXXX")
	say "downloading $pkg"
	(cd "$tmp" && debian_apt "$arch" "$suite" apt-get $quiet download "$pkg" >&2) ||
		{ rm -rf "$tmp"; die "cannot download $pkg of Debian $suite; check the network and try again"; }
	say "unpacking $pkg"
	dpkg -x "$tmp"/*.deb "$into" ||
		{ rm -rf "$tmp"; die "cannot unpack $pkg in $into; is the disk full?"; }
	rm -rf "$tmp"
}
