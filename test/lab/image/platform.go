package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Platform is what the machines of an image run.
type Platform struct {
	Name         string // in the cache and in results: "trixie"
	Title        string // for people: "Debian 13"
	Release      string // of Debian
	Architecture string // as Debian and Go name it
	Systemd      int    // its version
	Moves        bool   // the release changes daily, so what fails on it may be new
	SELinux      bool   // the kernel enforces the policy of the platform
	extra        string // packages in addition to those of every platform
}

// Platforms returns all platforms. The first one is the default.
func Platforms() []Platform {
	return []Platform{
		{Name: "bookworm", Title: "Debian 12", Release: "bookworm", Architecture: "amd64", Systemd: 252},
		{Name: "trixie", Title: "Debian 13", Release: "trixie", Architecture: "amd64", Systemd: 257, extra: "apparmor"},
		{Name: "sid", Title: "Debian sid", Release: "sid", Architecture: "amd64", Systemd: 262, Moves: true, extra: "apparmor systemd-imds"},
		{Name: "arm64", Title: "Debian 12, arm64", Release: "bookworm", Architecture: "arm64", Systemd: 252},
		{Name: "selinux", Title: "Debian 13, SELinux", Release: "trixie", Architecture: "amd64", Systemd: 257, SELinux: true, extra: "auditd policycoreutils selinux-policy-default selinux-utils"},
	}
}

// Variable is the environment variable that chooses the platform of the images that name none.
const Variable = "BOOTAGENT_LAB_PLATFORM"

// Named returns the platform with a name.
func Named(name string) (Platform, error) {
	all := Platforms()
	at := slices.IndexFunc(all, func(p Platform) bool { return p.Name == name })
	if at < 0 {
		return Platform{}, fmt.Errorf("the lab has no platform %q", name)
	}
	return all[at], nil
}

// Chosen returns the platform that the environment chooses.
func Chosen() (Platform, error) {
	name := os.Getenv(Variable)
	if name == "" {
		return Platforms()[0], nil
	}
	p, err := Named(name)
	if err != nil {
		return p, fmt.Errorf("%s: %w", Variable, err)
	}
	return p, nil
}

// packages returns what the platform has in addition to apt and the essential packages of mmdebstrap's
// minbase.
func (p Platform) packages() []string {
	return append([]string{
		"dbus", "e2fsprogs", "iproute2", "kmod", "linux-image-cloud-" + p.Architecture,
		"mariadb-server", "netcat-openbsd", "nginx-light", "nvme-cli", "postgresql", "procps",
		"qemu-guest-agent", "redis-server", "systemd", "systemd-sysv", "udev", "util-linux", "xfsprogs",
	}, strings.Fields(p.extra)...)
}

// hook is the name of the file with customize.sh, below the folder of a build.
const hook = "customize.sh"

// withoutProfiles removes the AppArmor profiles of package apparmor, which are of a hundred programs that no
// machine has. To load them took a third of the boot. Those of the databases are in the databases' packages.
const withoutProfiles = `for file in $(chroot "$1" dpkg -L apparmor); do
	case $file in
	/etc/apparmor.d/*/*) ;;
	/etc/apparmor.d/*) [ ! -f "$1$file" ] || rm "$1$file" ;;
	esac
done`

// bootstrap returns the command that writes the root filesystem of the platform to dir/root.tar.
func (p Platform) bootstrap(dir string) []string {
	// INITRD=No: the cloud kernel has NVMe and ext4 built in, and boots without an initrd. Without
	// documentation, translations and PostgreSQL's compiler of queries, which does not have to be there,
	// there is a third as much to copy for each machine.
	argv := []string{
		"env", "INITRD=No", "mmdebstrap",
		"--variant=minbase", "--architectures=" + p.Architecture,
		"--include=" + strings.Join(p.packages(), ","),
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/i18n/*",
		"--dpkgopt=path-exclude=/usr/lib/*/libLLVM*",
		"--dpkgopt=path-exclude=/usr/lib/llvm*",
		"--dpkgopt=path-exclude=/usr/lib/postgresql/*/lib/llvmjit*",
		"--dpkgopt=path-exclude=/usr/lib/postgresql/*/lib/bitcode/*",
		"--customize-hook=" + filepath.Join(dir, hook),
	}
	if slices.Contains(p.packages(), "apparmor") {
		argv = append(argv, "--customize-hook="+withoutProfiles)
	}
	if p.Moves {
		// A mirror may be a snapshot, which is older than apt accepts.
		argv = append(argv, `--aptopt=Acquire::Check-Valid-Until "false"`)
	}
	return append(argv, p.Release, filepath.Join(dir, "root.tar"))
}
