package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// MayHold returns why a role can't hold a unit of this name for itself, or nil. The
// error continues the name: "ssh.service" + " is needed to log in ...".
func MayHold(name string) error {
	if err := MayHoldWith(name); err != nil || !IsTemplate(name) {
		return err
	}
	return fmt.Errorf("is a template, and systemd never starts a template; name an instance of it, such as %s@main%s, and list the template under also-guard of that to hold all other instances",
		Prefix(name), path.Ext(name))
}

// MayHoldWith returns why a role can't hold a unit of this name with another one, or
// nil. A template stands for all of its instances that the role does not name. The
// error is as that of MayHold.
func MayHoldWith(name string) error {
	kind := path.Ext(name)
	switch {
	case !slices.Contains(HeldTypes(), kind):
		return fmt.Errorf("has to end in %s", strings.Join(HeldTypes(), ", "))
	case len(GrantOf(name)) > MaxName:
		return fmt.Errorf("is too long: %d characters, and at most %d are possible, because the name of its grant is longer",
			len(name), MaxName-len(grantPrefix))
	case !Valid(name):
		return errors.New(`is not a valid unit name: systemd allows letters, digits and : - _ . \ @, and no @ at the beginning`)
	}
	if why := Needed(name); why != "" {
		return errors.New(why)
	}
	return nil
}

// MayGuard returns why a guard of a unit of this name can't be written, or nil.
// A template may have a guard, which all of its instances read. The error
// completes "cannot hold it: ".
func MayGuard(name string) error {
	switch {
	case !Valid(name):
		return errors.New("not the name of a unit")
	case !slices.Contains(HeldTypes(), path.Ext(name)):
		return fmt.Errorf("only units that end in %s can be held", strings.Join(HeldTypes(), ", "))
	}
	if why := Needed(name); why != "" {
		return fmt.Errorf("it %s", why)
	}
	return nil
}

// MayGrant returns why the agent can't grant a service of this name, or nil.
// The error completes "cannot hold a unit for it: ".
func MayGrant(service string) error {
	switch {
	case !Valid(service) || !IsService(service):
		return errors.New("not the name of a service")
	case IsTemplate(service):
		return errors.New("a template has no grant; name an instance of it")
	case len(GrantOf(service)) > MaxName:
		return fmt.Errorf("the name of its grant would be longer than %d bytes", MaxName)
	}
	return nil
}

// Needed returns why a unit, or a template, has to start without the agent: a
// person logs in through it, or the agent itself waits for it. It returns "" if
// the unit may be held. The text continues the name, as the error of MayHold
// does.
func Needed(name string) string {
	for _, n := range needed() {
		if slices.ContainsFunc(n.names, func(pattern string) bool { return matches(name, pattern) }) {
			return n.why
		}
	}
	return ""
}

// A need is a reason why some units are not held, and the patterns that name
// these units. A pattern is compared with the part of a unit's name before the
// @ or the type. A * at its end matches any further characters. An @ at its end
// matches the template and its instances only.
type need struct {
	why   string
	names []string
}

// needed returns the only list of units that are never held, whatever a role
// file says. It has the names of all supported distributions, which call the
// same program by different names.
func needed() []need {
	return []need{
		{
			"is one of bootagent's own units, which can't wait for itself",
			[]string{"bootagent", "bootagent-*"},
		},
		{
			"is needed to log in, above all when the role does not become ready; leave it out of the role",
			[]string{
				"ssh", "sshd", "sshd-*", "dropbear", "ec2-instance-connect", "ec2-instance-connect-*",
				"amazon-ssm-agent", "snap.amazon-ssm-agent.*", "qemu-guest-agent", "user@", "user-runtime-dir@",
				"getty", "getty-*", "serial-getty", "console-getty", "container-getty", "autovt", "agetty",
				"emergency", "rescue", "debug-shell", "sulogin",
				"sssd", "sssd-*", "nslcd", "nscd", "nsncd", "unscd", "winbind", "winbindd", // who may log in
			},
		},
		{
			"brings up the network, and bootagent starts after the network, so each would wait for the other",
			[]string{
				"NetworkManager", "NetworkManager-*", "nm-cloud-setup", "networking", "network", "networkd-dispatcher", "ifup",
				"ifupdown-*", "netplan-*", "wicked", "wickedd", "wickedd-*", "connman", "dhcpcd", "dhclient", "iwd", "wpa_supplicant",
				"openvswitch-switch", "openvswitch", "ovsdb-server", "ovs-vswitchd", "resolvconf", "resolvconf-*",
				"policy-routes", "refresh-policy-routes", "ec2net-*", "elastic-network-interfaces",
			},
		},
		{
			"sets up the firewall, which starts before the network, and bootagent starts after the network, so each would wait for the other",
			[]string{
				"nftables", "iptables", "ip6tables", "ebtables", "arptables", "ipset", "netfilter-persistent",
				"firewalld", "ufw", "ferm", "shorewall", "shorewall6",
			},
		},
		{
			"sets up a cloud instance and installs the SSH keys of its users, and bootagent starts after it; leave it out of the role",
			[]string{"cloud-init", "cloud-init-*", "cloud-config", "cloud-final", "ignition-*", "afterburn", "afterburn-*", "coreos-*"},
		},
		{
			"is needed by bootagent itself at boot, so it can't wait for bootagent",
			[]string{
				"systemd-*", "dbus", "dbus-org.*", "dbus-broker", "udev", "eudev", "initrd-*", "plymouth-*",
				"kmod", "kmod-*", "modprobe", "procps", "apparmor", "selinux-*", "auditd", "hwclock",
				"keyboard-setup", "console-setup", "setvtrgb", "quotaon",
				"lvm2-*", "dm-event", "blk-availability", "multipathd", "mdadm", "mdadm-*", "mdmonitor", "mdmon",
				"cryptdisks", "cryptdisks-early", "iscsid", "iscsi", "open-iscsi", "nvmf-*", "nvmefc-*", "zfs-*",
			},
		},
	}
}

// matches reports whether a pattern of a need matches a unit's name.
func matches(name, pattern string) bool {
	prefix := Prefix(name)
	if stem, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(prefix, stem)
	}
	stem, many := strings.CutSuffix(pattern, "@")
	return prefix == stem && (!many || strings.Contains(Stem(name), "@"))
}
