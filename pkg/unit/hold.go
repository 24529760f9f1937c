package unit

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// MayHold tells why a unit of this name can't be held until the agent grants
// it, or nil. The error goes on from the name: "ssh.service" + " is a way in ...".
func MayHold(name string) error {
	kind := path.Ext(name)
	switch {
	case !slices.Contains(HeldTypes(), kind):
		return fmt.Errorf("has to end in %s", strings.Join(HeldTypes(), ", "))
	case len(Grant(name)) > MaxName:
		return fmt.Errorf("is too long: %d characters, and there may be %d, so that systemd can name its grant",
			len(name), MaxName-len(grantPrefix))
	case !Valid(name):
		return fmt.Errorf(`is no name of a unit: systemd allows letters, digits and : - _ . \ @, and no @ at the beginning`)
	case IsTemplate(name):
		return fmt.Errorf("is a template, and no template is ever started; name its instance, such as %s@main%s", Prefix(name), kind)
	}
	if why := Needed(name); why != "" {
		return fmt.Errorf("%s", why)
	}
	return nil
}

// Needed tells why a unit, or a template, has to start without the agent, or "":
// a person gets in by it, or the agent itself waits for it. It goes on from the
// name, as MayHold does.
func Needed(name string) string {
	for _, n := range needed() {
		if slices.ContainsFunc(n.names, func(pattern string) bool { return matches(name, pattern) }) {
			return n.why
		}
	}
	return ""
}

// A need is a reason why units are not held, and which they are: by the name
// before the @ and the type. With a * behind it, whatever follows is meant too;
// with an @, instances and the template alone.
type need struct {
	why   string
	names []string
}

// needed is the one list of what is never held, whatever a role file says.
// Distributions call the same thing by different names, so all of these are here.
func needed() []need {
	return []need{
		{
			"is one of bootagent's own units, which can't wait for themselves",
			[]string{"bootagent", "bootagent-*"},
		},
		{
			"is a way in, which people need most when the role does not come up; leave it out of the role",
			[]string{
				"ssh", "sshd", "sshd-*", "dropbear", "ec2-instance-connect", "ec2-instance-connect-*",
				"amazon-ssm-agent", "snap.amazon-ssm-agent.*", "qemu-guest-agent", "user@", "user-runtime-dir@",
				"getty", "getty-*", "serial-getty", "console-getty", "container-getty", "autovt", "agetty",
				"emergency", "rescue", "debug-shell", "sulogin",
				"sssd", "sssd-*", "nslcd", "nscd", "nsncd", "unscd", "winbind", "winbindd", // who may log in
			},
		},
		{
			"brings up the network, and bootagent is ordered after that, so each would wait for the other",
			[]string{
				"NetworkManager", "NetworkManager-*", "nm-cloud-setup", "networking", "network", "networkd-dispatcher", "ifup",
				"ifupdown-*", "netplan-*", "wicked", "wickedd", "wickedd-*", "connman", "dhcpcd", "dhclient", "iwd", "wpa_supplicant",
				"openvswitch-switch", "openvswitch", "ovsdb-server", "ovs-vswitchd", "resolvconf", "resolvconf-*",
				"policy-routes", "refresh-policy-routes", "ec2net-*", "elastic-network-interfaces",
			},
		},
		{
			"sets up the firewall, which has to be there before the network, and bootagent is ordered after that",
			[]string{
				"nftables", "iptables", "ip6tables", "ebtables", "arptables", "ipset", "netfilter-persistent",
				"firewalld", "ufw", "ferm", "shorewall", "shorewall6",
			},
		},
		{
			"is a stage of the setup of a cloud instance, which bootagent is ordered after, and which brings people's keys; leave it out of the role",
			[]string{"cloud-init", "cloud-init-*", "cloud-config", "cloud-final", "ignition-*", "afterburn", "afterburn-*", "coreos-*"},
		},
		{
			"is a unit that bootagent itself needs at boot, so it can't wait for bootagent",
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

// matches tells whether a name is what a pattern of a need means.
func matches(name, pattern string) bool {
	prefix := Prefix(name)
	if stem, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(prefix, stem)
	}
	stem, many := strings.CutSuffix(pattern, "@")
	return prefix == stem && (!many || strings.Contains(Stem(name), "@"))
}
