// Package mountinfo reads /proc/PID/mountinfo, which lists what is mounted as a
// process sees it. The format is that of proc_pid_mountinfo(5). The package
// touches no file: callers read the file and hand in its text.
package mountinfo

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// A Mount is one line of mountinfo.
type Mount struct {
	Major, Minor uint32 // the device number of what is mounted, as in st_dev
	Point        string // the path where it is mounted
	Source       string // what was mounted, as the filesystem names it: "/dev/nvme1n1", "tmpfs"
	ReadOnly     bool   // nothing can be written there: by the mount's options, or by those of its filesystem
	Private      bool   // an unmount in another mount namespace does not reach it (mount_namespaces(7))
}

// Parse returns the mounts of the text of a mountinfo file in the order of the
// file. Where several mounts have the same mount point, the last one is visible.
//
// A line that does not have the format gives an error that quotes the line, and
// a Mount with only the mount point, or "" if the line has none. The caller may
// continue with the next line.
func Parse(text string) iter.Seq2[Mount, error] {
	return func(yield func(Mount, error) bool) {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if line != "" && !yield(parseLine(line)) {
				return
			}
		}
	}
}

// parseLine parses one line. Its fields are: ID, parent's ID, device number,
// root, mount point, options, any number of tags, "-", type of filesystem,
// source, options of the filesystem.
func parseLine(line string) (Mount, error) {
	// The kernel puts one space between two fields and escapes the spaces in
	// them. An empty field is an empty string.
	fields := strings.Split(line, " ")
	if len(fields) < 5 {
		return Mount{}, fmt.Errorf("cannot parse the line %q of mountinfo: it has no mount point", line)
	}
	m := Mount{Point: Unescape(fields[4])}
	dash := slices.Index(fields, "-")
	if dash < 5 || len(fields) < dash+3 {
		return m, fmt.Errorf("cannot parse the line %q of mountinfo: it has no source", line)
	}
	major, minor, _ := strings.Cut(fields[2], ":")
	ma, errMajor := strconv.ParseUint(major, 10, 32)
	mi, errMinor := strconv.ParseUint(minor, 10, 32)
	if errMajor != nil || errMinor != nil {
		return m, fmt.Errorf("cannot parse the line %q of mountinfo: its device number is %q, not MAJOR:MINOR", line, fields[2])
	}
	m.Private = !slices.ContainsFunc(fields[min(6, dash):dash], func(tag string) bool {
		return strings.HasPrefix(tag, "shared:") || strings.HasPrefix(tag, "master:")
	})
	readOnly := func(options string) bool {
		return slices.ContainsFunc(strings.Split(options, ","), func(o string) bool { return o == "ro" || o == "emergency_ro" }) // the latter is ext4's
	}
	m.ReadOnly = len(fields) > 5 && readOnly(fields[5]) || len(fields) > dash+3 && readOnly(fields[dash+3])
	m.Major, m.Minor, m.Source = uint32(ma), uint32(mi), Unescape(fields[dash+2])
	return m, nil
}

var escapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Unescape replaces the octal escapes that the kernel writes for a space, a
// tab, a newline and a backslash in the paths of mountinfo and of /proc/swaps.
func Unescape(path string) string { return escapes.Replace(path) }
