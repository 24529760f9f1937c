package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"bootagent/test/lab"
)

const (
	serial   = "vol0123456789abcdef0"
	device   = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_" + serial
	userData = "#bootagent\nversion: 1\nrole: mysql\nparams: {disk: " + serial + "}\n"

	settles = 3 * time.Minute // how long the machine may take until MariaDB runs or the agent waits
)

// static installs and removes the static units that bootagent is compared with.
//
//go:embed static.sh
var static string

const staticPath = "/usr/local/sbin/static.sh"

// A way is how MariaDB gets its volume.
type way string

const (
	byAgent way = "bootagent"
	byHand  way = "static units"
)

// A guest is the machine to measure.
type guest struct{ *lab.Machine }

// sh runs a command line in the guest, and returns its output. A command that fails is an error.
func (g guest) sh(ctx context.Context, line string) (string, error) {
	return g.Output(ctx, "/bin/sh", "-c", line)
}

func (g guest) until(ctx context.Context, what, line string) error {
	ctx, cancel := context.WithTimeout(ctx, settles)
	defer cancel()
	if err := g.Until(ctx, what, "/bin/sh", "-c", line); err != nil {
		status, _ := g.Run(context.WithoutCancel(ctx), "bootagent", "status")
		return fmt.Errorf("%w\n%s", err, status.Stdout)
	}
	return nil
}

// up waits until the machine has booted and MariaDB runs. It first waits for as long as that usually
// takes, because each question to the guest would slow it down.
func (g guest) up(ctx context.Context, w way, usually time.Duration) error {
	if err := rest(ctx, usually); err != nil {
		return err
	}
	serves := "systemctl is-active --quiet mariadb.service multi-user.target"
	if w == byAgent {
		serves = "bootagent wait >/dev/null && " + serves
	}
	return g.until(ctx, "MariaDB", serves)
}

// change switches the machine to another way. No unit of the role may run.
func (g guest) change(ctx context.Context, to way) error {
	verb := "off"
	if to == byHand {
		verb = "on"
	}
	_, err := g.sh(ctx, staticPath+" "+verb+" "+device)
	return err
}

// down stops the role, so that its volume is unmounted cleanly.
func (g guest) down(ctx context.Context) error {
	_, err := g.sh(ctx, "systemctl stop bootagent && systemctl stop mariadb && systemctl stop var-lib-mysql.mount srv-data.mount && "+
		"systemctl reset-failed && ! findmnt /srv/data")
	return err
}

// monotonic reads a timestamp of a unit, on the guest's monotonic clock.
func (g guest) monotonic(ctx context.Context, unit, property string) (time.Duration, error) {
	out, err := g.sh(ctx, "systemctl show --value --property="+property+" "+unit)
	if err != nil {
		return 0, err
	}
	us, err := strconv.ParseInt(out, 10, 64)
	if err == nil && us == 0 {
		err = fmt.Errorf("%s has no %s", unit, property)
	}
	return time.Duration(us) * time.Microsecond, err
}

// startJob returns when the start job of MariaDB began to run: all units that it is ordered after have
// started.
func (g guest) startJob(ctx context.Context) (time.Duration, error) {
	return g.monotonic(ctx, "mariadb.service", "InactiveExitTimestampMonotonic")
}

// rest waits without a question to the guest.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// about describes the versions of the software and the host.
func (g guest) about(ctx context.Context) (string, error) {
	out, err := g.sh(ctx, "dpkg-query -W bootagent systemd mariadb-server; uname -r; nproc; sed -n 's/^MemTotal: *//p' /proc/meminfo")
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.ReplaceAll(out, "\t", " "), "\n")
	if len(lines) != 6 {
		return "", fmt.Errorf("cannot read the versions in the machine: %q", out)
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	model := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(info)
	if model == nil {
		return "", fmt.Errorf("cannot find the processor of this host in /proc/cpuinfo")
	}
	accel := os.Getenv("BOOTAGENT_LAB_ACCEL")
	if accel == "" {
		accel = "plain emulation"
	}
	return fmt.Sprintf("Measured: %s; %s; %s; Linux %s\nOn: QEMU, %s, %s processors, %s of memory; host: %s, load %s before",
		lines[0], lines[1], lines[2], lines[3], accel, lines[4], lines[5], model[1], strings.Fields(string(load))[0]), nil
}
