package image

import (
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"path"
	"strings"

	"bootagent/pkg/selinux"
	"bootagent/pkg/systemd/unitfile"
)

// checkSELinux looks whether a policy that will be enforced has the module of the
// package. Without it, a service of the role can be denied its data and its secrets.
func (i Image) checkSELinux(units *unitfile.Tree, r *Report) {
	mode, policy := selinuxConfig(units)
	if mode != "enforcing" && mode != "permissive" {
		return
	}
	install := "semodule --install=" + selinux.Module
	report := r.problem
	if mode == "permissive" {
		report = func(format string, args ...any) { r.Suggested = append(r.Suggested, fmt.Sprintf(format, args...)) }
	}
	module, err := units.Read(selinux.Module)
	if err != nil {
		r.problem("cannot read the SELinux module of bootagent: %v", err)
		return
	}
	switch has, err := installedModule(units, policy); {
	case err != nil:
		r.Unchecked = append(r.Unchecked, fmt.Sprintf("the SELinux policy %s: %v", policy, err))
	case has == nil:
		report("the SELinux policy %s (%s) lacks the module bootagent, so that services can be denied what bootagent mounts and writes for them: %s", policy, mode, install)
	case !bytes.Equal(has, module):
		report("the SELinux policy %s (%s) has another version of the module bootagent: %s", policy, mode, install)
	default:
		r.Checked = append(r.Checked, fmt.Sprintf("the SELinux policy %s: it has the module bootagent", policy))
	}
}

// selinuxConfig returns the mode and the name of the policy, see selinux_config(5).
func selinuxConfig(units *unitfile.Tree) (mode, policy string) {
	text, err := units.Read("/etc/selinux/config")
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "SELINUX":
			mode = strings.ToLower(value)
		case "SELINUXTYPE":
			policy = value
		}
	}
	return mode, policy
}

// installedModule returns the module bootagent in the store of a policy, or nil. The
// store keeps each module in a directory of its priority, compressed by bzip2.
func installedModule(units *unitfile.Tree, policy string) ([]byte, error) {
	store := path.Join("/var/lib/selinux", policy, "active/modules")
	priorities, err := units.ReadDir(store)
	if err != nil {
		return nil, err
	}
	for _, p := range priorities {
		packed, err := units.Read(path.Join(store, p.Name(), "bootagent", "cil"))
		switch {
		case isAbsent(err):
			continue
		case err != nil:
			return nil, err
		case !bytes.HasPrefix(packed, []byte("BZ")):
			return packed, nil
		}
		return io.ReadAll(bzip2.NewReader(bytes.NewReader(packed)))
	}
	return nil, nil
}
