package lab_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
	"bootagent/test/lab/qemu"
)

// panicOnce makes the kernel panic at the next boot, and not at the one after it.
const panicOnce = `[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target
ConditionPathExists=/etc/lab/panic
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'rm /etc/lab/panic && sync /etc/lab && echo c >/proc/sysrq-trigger'
[Install]
WantedBy=sysinit.target
`

// All checks use one machine, because a boot takes longer than all of them together.
func TestMachine(t *testing.T) {
	img := labtest.Image(t, image.Spec{
		Debs: []string{deb(t)},
		Files: map[string]image.File{
			"/etc/lab/image":                         {Data: []byte("the image's\n")},
			"/etc/systemd/system/panic-once.service": {Data: []byte(panicOnce)},
		},
		Commands: [][]string{
			{"sh", "-c", "cat /etc/lab/installed /etc/lab/image >/etc/lab/command"},
			{"systemctl", "mask", "mariadb.service"}, // its data directory is empty
			{"systemctl", "enable", "panic-once.service"},
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()

	dir := t.TempDir()
	first := disk(t, dir, "vol0123456789abcdef0")
	second := disk(t, dir, "vol0123456789abcdef1")
	second.BadSectors = []int64{4096}
	third := disk(t, dir, "vol0123456789abcdef2")
	third.Cache = qemu.Volatile

	m := labtest.Machine(t, img, "machine", lab.Config{
		Files: map[string]image.File{
			"/etc/lab/image":               {Data: []byte("the machine's\n"), Mode: 0o600},
			"/etc/lab/deep/down below/two": {Data: make([]byte, 100_000)},
		},
		Ports:   []int{80},
		Servers: map[string]string{"169.254.169.254:80": greeter(t)},
		UUID:    "ec2a1b2c-1111-2222-3333-444455556666", AssetTag: "i-0123456789abcdef0",
		Cache: qemu.Volatile,
	})
	ok(t, m.Plug(ctx, first))
	ok(t, m.Boot(ctx))
	ok(t, m.WaitConsole(ctx, "Reached target multi-user.target"))

	t.Run("has the files of the package, the image and the machine", func(t *testing.T) {
		output(t, m, "configure\nthe image's", "cat", "/etc/lab/command")
		output(t, m, "the machine's", "cat", "/etc/lab/image")
		output(t, m, "600 root root\n644 root root\n755 root root",
			"stat", "--format=%a %U %G", "/etc/lab/image", "/etc/lab/deep/down below/two", "/etc/lab/deep")
		if data, err := m.ReadFile(ctx, "/etc/lab/deep/down below/two"); err != nil || len(data) != 100_000 {
			t.Errorf("read %d bytes, %v", len(data), err)
		}
	})
	t.Run("reaches its servers, repeatedly, and nothing else", func(t *testing.T) {
		until(t, m, "its address", "sh", "-c", "ip -4 -o address show | grep -q ' 169[.]254[.]169[.]'") // multi-user.target does not wait for it
		ask := `printf 'GET /whoami HTTP/1.0\r\n\r\n' | nc -w 10 %s | tail -n 1`
		for range 2 {
			output(t, m, "hello from /whoami", "sh", "-c", fmt.Sprintf(ask, "169.254.169.254 80"))
		}
		output(t, m, "", "sh", "-c", fmt.Sprintf(ask, "169.254.169.2 80"))
	})
	t.Run("identifies itself as EC2's firmware does", func(t *testing.T) {
		output(t, m, "ec2a1b2c-1111-2222-3333-444455556666\ni-0123456789abcdef0",
			"cat", "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/board_asset_tag")
	})
	t.Run("is healthy, and its database's directory is empty", func(t *testing.T) {
		output(t, m, "running", "systemctl", "is-system-running", "--wait")
		output(t, m, "755 mysql mysql", "stat", "--format=%a %U %G", "/var/lib/mysql")
		output(t, m, "", "ls", "-A", "/var/lib/mysql")
	})
	t.Run("serves a client on the host", func(t *testing.T) {
		res, err := http.Get("http://" + m.Addr(80))
		ok(t, err)
		defer res.Body.Close()
		page, err := io.ReadAll(res.Body)
		if err != nil || !strings.Contains(string(page), "nginx") {
			t.Errorf("nginx answered %q, %v", page, err)
		}
	})
	t.Run("returns how a command ended", func(t *testing.T) {
		r, err := m.Run(ctx, "sh", "-c", "echo out; echo err >&2; exit 3")
		if want := (lab.Result{Stdout: "out\n", Stderr: "err\n", Exit: 3}); err != nil || r != want {
			t.Errorf("got %+v, %v", r, err)
		}
		if _, err := m.Run(ctx, "no-such-command"); err == nil {
			t.Error("a command that does not exist ran")
		}
	})
	t.Run("kills a command when its context ends", func(t *testing.T) {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := m.Run(soon, "sleep", "1000"); err == nil {
			t.Error("the command has ended without an error")
		}
		until(t, m, "the end of sleep", "sh", "-c", "! pgrep --full 'slee[p] 1000'")
	})
	t.Run("has a disk that was plugged before its boot", func(t *testing.T) {
		until(t, m, first.Serial, "test", "-b", byID(first))
	})
	t.Run("sees a disk that is plugged while it runs", func(t *testing.T) {
		ok(t, m.Plug(ctx, second))
		until(t, m, second.Serial, "test", "-b", byID(second))
	})
	t.Run("can't read bad sectors", func(t *testing.T) {
		for sector, readable := range map[string]bool{"4095": true, "4096": false, "4097": true} {
			r, err := m.Run(ctx, "dd", "if="+byID(second), "of=/dev/null", "bs=512", "count=1", "iflag=direct", "skip="+sector)
			if ok(t, err); (r.Exit == 0) != readable {
				t.Errorf("sector %s: %s", sector, r.Stderr)
			}
		}
	})
	t.Run("loses a disk that it writes to", func(t *testing.T) {
		output(t, m, "", "sh", "-c", `
			mkfs.xfs -q "$1" && mount "$1" /mnt && touch /mnt/kept && sync
			while echo >/mnt/more; do :; done >/dev/null 2>&1 &`, "sh", byID(first))
		ok(t, m.Unplug(ctx, first))
		until(t, m, "its end", "sh", "-c", `! grep "$1" /sys/class/nvme/*/serial`, "sh", first.Serial)
		output(t, m, "", "umount", "--lazy", "/mnt")
	})
	t.Run("gets the disk back", func(t *testing.T) {
		ok(t, m.Plug(ctx, first))
		until(t, m, first.Serial, "mount", byID(first), "/mnt")
		output(t, m, "/mnt/kept", "ls", "/mnt/kept")
		output(t, m, "", "umount", "/mnt")
	})
	t.Run("shares no disk", func(t *testing.T) {
		other := labtest.Machine(t, img, "other", lab.Config{})
		ok(t, other.Plug(ctx, first))
		if err := other.Start(ctx); err == nil || !strings.Contains(err.Error(), "lock") {
			t.Errorf("another machine started with it: %v", err)
		}
	})

	bootID := func() string {
		t.Helper()
		id, err := m.Output(ctx, "cat", "/proc/sys/kernel/random/boot_id")
		ok(t, err)
		return id
	}
	ok(t, m.WriteFile(ctx, "/srv/lab/kept", image.File{Data: []byte("\x00kept\xff"), Mode: 0o640}))
	before := bootID()
	ok(t, m.PowerOff(ctx))
	t.Run("has its shutdown on the console", func(t *testing.T) {
		log, err := m.Console()
		ok(t, err)
		from := 0
		for _, line := range []string{"Reached target multi-user.target.", "Stopped nginx.service.", "Stopped target network.target.", "Power down"} {
			at := strings.Index(log[from:], line)
			if at < 0 {
				t.Fatalf("no %q in, or not in this order:\n%s", line, log)
			}
			from += at
		}
	})
	if _, err := m.Run(ctx, "true"); err == nil {
		t.Error("a machine that is off ran a command")
	}

	ok(t, m.Boot(ctx))
	t.Run("keeps its files and disks", func(t *testing.T) {
		if data, err := m.ReadFile(ctx, "/srv/lab/kept"); string(data) != "\x00kept\xff" {
			t.Errorf("read %q, %v", data, err)
		}
		output(t, m, "640", "stat", "--format=%a", "/srv/lab/kept")
		until(t, m, second.Serial, "test", "-b", byID(second))
	})
	again := bootID()
	ok(t, m.Reboot(ctx))
	if last := bootID(); before == again || again == last {
		t.Errorf("the boot IDs %s, %s, %s are not different", before, again, last)
	}

	// On each disk, the last fsync is followed by no other. Direct writes go to the disk at once, into its cache.
	const synced = `mkfs.xfs -q "$1" && mount "$1" /mnt && printf '%4096s' old >/mnt/direct && sync /mnt/direct
		for n in 1 2 3; do echo $n >>/mnt/synced && sync /mnt/synced || exit; done
		printf '%4096s' new | dd of=/mnt/direct bs=4096 iflag=fullblock oflag=direct conv=notrunc status=none
		for n in 1 2 3; do echo $n >>/root/synced && sync /root/synced || exit; done`
	ok(t, m.Plug(ctx, third))
	until(t, m, third.Serial, "test", "-b", byID(third))
	output(t, m, "", "sh", "-c", synced, "sh", byID(third))
	output(t, m, "", "sh", "-c", "touch /etc/lab/panic && sync /etc/lab /etc/lab/panic")
	m.Kill()
	if m.Addr(80) != "" {
		t.Error("a killed machine has an address")
	}

	t.Run("is started again if its kernel hangs, and if it panics before the agent begins", func(t *testing.T) {
		ok(t, m.Start(ctx))
		hung := m.Addr(80)
		ok(t, m.Freeze(ctx))
		ok(t, lab.Up(m, ctx, 20*time.Second))
		ok(t, m.WaitConsole(ctx, "Reached target multi-user.target"))
		if m.Addr(80) == hung {
			t.Errorf("the machine that hung still runs, at %s", hung)
		}
		log, err := os.ReadFile(filepath.Join(m.Dir(), "console.log"))
		if ok(t, err); strings.Count(string(log), "Kernel panic - not syncing: sysrq triggered crash") != 1 {
			t.Error("the kernel has not panicked once")
		}
	})
	t.Run("has lost only what was not synced", func(t *testing.T) {
		until(t, m, third.Serial, "mount", byID(third), "/mnt")
		output(t, m, "1\n2\n3\n1\n2\n3", "cat", "/mnt/synced", "/root/synced")
		output(t, m, "old", "cat", "/mnt/direct")
	})
}

// deb makes a package. Its script fails if it can start a unit, and writes its argument to a file.
func deb(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"control":  "Package: lab-test\nVersion: 1\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nDescription: test\n",
		"postinst": "#!/bin/sh -e\nsystemctl start nginx.service; if pgrep nginx; then exit 1; fi\nmkdir /etc/lab; echo $1 >/etc/lab/installed\n",
	} {
		file := filepath.Join(dir, "lab-test", "DEBIAN", name)
		ok(t, os.MkdirAll(filepath.Dir(file), 0o755))
		ok(t, os.WriteFile(file, []byte(text), 0o755))
	}
	cmd := exec.Command("dpkg-deb", "--root-owner-group", "--build", "lab-test")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0") // makes the same bytes each time, so that the cache can find the image
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "lab-test.deb")
}

func disk(t *testing.T, dir, serial string) *qemu.Disk {
	t.Helper()
	d, err := qemu.NewDisk(filepath.Join(dir, serial+".raw"), serial, 1<<30)
	ok(t, err)
	return d
}

func byID(d *qemu.Disk) string { return "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_" + d.Serial }

func output(t *testing.T, m *lab.Machine, want string, argv ...string) {
	t.Helper()
	got, err := m.Output(t.Context(), argv...)
	if err != nil || got != want {
		t.Errorf("%s: got %q, %v; want %q", strings.Join(argv, " "), got, err, want)
	}
}

func until(t *testing.T, m *lab.Machine, what string, argv ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ok(t, m.Until(ctx, what, argv...))
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// greeter starts a server on a Unix socket that answers with the path of the request.
func greeter(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "greeter.sock")
	listener, err := net.Listen("unix", socket)
	ok(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from "+r.URL.Path)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket
}
