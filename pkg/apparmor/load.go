package apparmor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bootagent/pkg/program"
)

// loadWithin limits how long apparmor_parser may take for one profile. It takes a
// second or two.
const loadWithin = time.Minute

// Loader returns what loads a changed profile into the kernel. It does nothing
// unless the root is that of the running machine, and its kernel has AppArmor: in a
// chroot, where an image is built, the kernel is another machine's.
func Loader(ctx context.Context, root string) func(profile string) error {
	if !runs(root) {
		return func(string) error { return nil }
	}
	return func(profile string) error {
		parser := program.Find("apparmor_parser", []string{"/usr/sbin", "/sbin"})
		if parser == "" {
			return fmt.Errorf("cannot load the profile %s of AppArmor: there is no apparmor_parser; install the package apparmor", profile)
		}
		said, err := program.Command{
			Path: parser, Args: []string{"--replace", "--skip-read-cache", "--write-cache", "--", profile},
			Env: os.Environ(), Within: loadWithin, Output: 1 << 20,
		}.Run(ctx)
		if err == nil && said.Exit != 0 {
			err = said.Failure()
		}
		if err != nil {
			return fmt.Errorf("cannot load the profile %s of AppArmor: %w", profile, err)
		}
		return nil
	}
}

// runs reports whether a root is that of the running machine: systemd runs it
// (sd_booted(3)), and the kernel has AppArmor.
func runs(root string) bool {
	if filepath.Clean(root) != "/" {
		return false
	}
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || !strings.HasPrefix(string(enabled), "Y") {
		return false
	}
	if info, err := os.Lstat("/run/systemd/system"); err != nil || !info.IsDir() {
		return false
	}
	here, err := os.Stat("/")
	if err != nil {
		return false
	}
	first, err := os.Stat("/proc/1/root/")
	return err == nil && os.SameFile(here, first)
}
