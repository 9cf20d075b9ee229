# shellcheck shell=bash
# The Debian packages of the test: what tests/prepare installs for all tests, Vagrant's provider, libvirt
# and the emulator. Called by run.

# The emulator comes from the release of the installed qemu-utils, with which it shares files. Where
# that came from backports and these are no longer among this host's sources, apt reads them for this one
# call: sources and package lists of its own, below the state directory.
require_emulator() {
    local codename installed mirror
    if command -v qemu-system-x86_64 >/dev/null; then return 0; fi
    installed=$(dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null || true)
    if [[ $installed != *~bpo* ]]; then
        "$REPOSITORY/tests/prepare" qemu-utils qemu-system-x86
        return
    fi
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # The formats are apt's.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" 'Created-By: Packages' | head -n 1)
    rm -rf "$STATE/apt"
    mkdir -p "$STATE/apt/sources" "$STATE/apt/lists/partial"
    if [[ -d /etc/apt/sources.list.d ]]; then
        cp -a /etc/apt/sources.list.d/. "$STATE/apt/sources/"
    fi
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $codename-backports main" \
        >"$STATE/apt/sources/backports.list"
    cat >"$STATE/apt/apt.conf" <<CONF
Dir::Etc::SourceParts "$STATE/apt/sources";
Dir::State::Lists "$STATE/apt/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Default-Release "$codename-backports";
CONF
    APT_CONFIG=$STATE/apt/apt.conf "$REPOSITORY/tests/prepare" qemu-system-x86
    rm -rf "$STATE/apt"
}

# libvirt without libvirt-daemon-system: that one is for a host that runs libvirt all the time, with an
# account, a firewall and units of its own. Where it is installed, it is used.
require_packages() {
    require_emulator
    "$REPOSITORY/tests/prepare" vagrant-libvirt libvirt-daemon libvirt-clients dnsmasq-base iptables \
        qemu-utils mmdebstrap e2fsprogs
}
