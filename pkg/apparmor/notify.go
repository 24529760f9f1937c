package apparmor

import (
	"fmt"
	"path/filepath"
	"strings"

	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/unitfile"
)

// Unheard returns the profiles that keep a service from telling systemd that it is
// ready (Type=notify), for services from which their guard hides a path
// (InaccessiblePaths=), for which systemd makes a mount namespace. In such a namespace the path of systemd's socket
// is disconnected, and no rule allows it: the profile needs the flag
// attach_disconnected (apparmor.d(5)), which no local file can give it. Linux asks
// AppArmor about a socket's path since 6.17, where features/network_v9/af_unix is,
// and that of Ubuntu did before. The error is one of reading units.
func Unheard(root string, services []string) (all []Problem, err error) {
	units, err := unitfile.Load(root)
	if err != nil {
		return nil, err
	}
	s := load(units.Root)
	for _, service := range services {
		if units.Own(service) != service || !notifies(units, service) {
			continue
		}
		for _, p := range s.ofService(units, service) {
			if p.attachDisconnected {
				continue
			}
			all = append(all, Problem{File: p.file, Detail: fmt.Sprintf("the profile %s of AppArmor keeps %s from telling systemd that it is ready (Type=notify), "+
				"because its guard hides the socket of systemd-imdsd in a mount namespace: %s", p.name, service, p.attachCommand(root))})
		}
	}
	return all, nil
}

// attachCommand says how to add the flag attach_disconnected to a profile. The
// command changes nothing when it is run again.
func (p profile) attachCommand(root string) string {
	const flag = "attach_disconnected"
	file := shell.Quote(filepath.Join(root, p.file))
	load := "apparmor_parser --replace " + file
	head, isWhole := strings.CutSuffix(p.head, "{")
	before, flags, has := strings.Cut(head, "flags=(")
	switch {
	case !isWhole || strings.TrimSpace(head) == "" || strings.Contains(head, "|") || has != p.flagged || !has && strings.Contains(head, "("):
		text := "add the flag " + flag + " to its head"
		if runs(root) {
			text += ", and then run " + load
		}
		return text
	case has:
		head = before + "flags=(" + flag + ", " + flags
	default:
		head = strings.TrimRight(head, " \t") + " flags=(" + flag + ") "
	}
	script := "s|^" + escaped(p.head, `\.*[]^$`) + "|" + escaped(head+"{", `\&`) + "|"
	command := "run sed -i " + shell.Quote(script) + " " + file
	if runs(root) {
		command += " && " + load
	}
	return command
}

// escaped puts a backslash before each of some characters.
func escaped(text, special string) string {
	var b strings.Builder
	for _, c := range text {
		if strings.ContainsRune(special, c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// notifies reports whether a service tells systemd when it is ready.
func notifies(units *unitfile.Tree, service string) (yes bool) {
	for _, s := range units.Settings(service) {
		if s.Section == "Service" && s.Key == "Type" {
			yes = s.Value == "notify" || s.Value == "notify-reload"
		}
	}
	return yes
}
