package holder

import (
	"os"
	"path/filepath"
	"strings"

	"bootagent/pkg/mountinfo"
)

// namespaces are the mount namespaces that were looked into.
type namespaces struct {
	proc   string
	device mountinfo.Mount // what is mounted at the path; its point is "" where nothing is
	seen   map[string]bool // by what /proc/PID/ns/mnt links to
}

// here looks into the namespace of this process. It returns a line for each mount
// below the path, as long as these are few.
func (n *namespaces) here(where string) (lines []string) {
	self := filepath.Join(n.proc, "self")
	n.isNew(self)
	text, err := os.ReadFile(filepath.Join(self, "mountinfo"))
	if err != nil {
		return nil
	}
	for m := range mountinfo.Parse(string(text)) {
		switch {
		case m.Point == where:
			n.device = m
		case strings.HasPrefix(m.Point, where+"/") && len(lines) < maxNamed:
			lines = append(lines, "the mount at "+m.Point)
		}
	}
	return lines
}

// holds says how a process holds what is mounted by a mount of its namespace, or
// "". Of each namespace, the first process that it sees does.
func (n *namespaces) holds(process string) string {
	if n.device.Point == "" || !n.isNew(process) {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(process, "mountinfo"))
	if err != nil {
		return ""
	}
	for m := range mountinfo.Parse(string(text)) {
		if m.Major == n.device.Major && m.Minor == n.device.Minor && m.Private {
			return "a mount of its own namespace, at " + m.Point
		}
	}
	return ""
}

// isNew reports whether the mount namespace of a process was not looked into.
func (n *namespaces) isNew(process string) bool {
	name, err := os.Readlink(filepath.Join(process, "ns/mnt"))
	if err != nil || n.seen[name] {
		return false
	}
	n.seen[name] = true
	return true
}
