package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
)

// A place is where a secret could leak to: how it is searched for in the guest, and how it is put
// there to show that the search finds it. Each command line gets the text as $1.
type place struct{ name, search, plant string }

// places of a running machine. A search prints what it has found.
var places = []place{
	{"journal", `journalctl --boot --output=export --all | grep -aF -- "$1"`, `logger -- "$1"`},
	{"kernel log", `dmesg | grep -aF -- "$1"`, `echo "$1" >/dev/kmsg`},
	{
		"status", `{ bootagent status; bootagent status --json; systemctl status --no-pager bootagent mariadb; } | grep -aF -- "$1"`,
		`sed -i "s/\"role\": \"mysql-ec2\"/\"role\": \"$1\"/" /run/bootagent/status.json`,
	},
	{
		"control socket",
		`for ask in 'GET /' 'GET /v1/unlock' 'POST /v1/unlock' 'POST /v1/lock'; do
			for socket in /run/bootagent/control.sock /tmp/planted.sock; do
				[ ! -S $socket ] || printf '%s HTTP/1.0\r\nContent-Length: 9\r\n\r\nAGE-WRONG' "$ask" | nc -N -U -w 5 $socket
			done
		done | grep -aF -- "$1"`,
		`systemd-run --quiet --unit=planted-socket sh -c "while echo '$1' | nc -l -N -U /tmp/planted.sock; do rm -f /tmp/planted.sock; done"; sleep 1`,
	},
	{
		"environment", `for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || tr '\0' '\n' <$p/environ; done 2>/dev/null | grep -aF -- "$1"`,
		`systemd-run --quiet --unit=planted-environment --setenv=LEAK="$1" sleep 600; sleep 1`,
	},
	{
		"arguments", `for p in /proc/[0-9]*; do case $(tr '\0' '\n' <$p/cmdline) in *planted-arguments*|*searching*) ;; *"$1"*) echo $p; esac; done 2>/dev/null`,
		`systemd-run --quiet --unit=planted-args sleep 600 "$1"x 2>/dev/null; systemd-run --quiet --unit=planted-args2 sh -c 'sleep 600; :' "$1"; sleep 1`,
	},
	{"files", `grep -raF -l -s --exclude-dir=secrets -- "$1" /run/bootagent /var/lib/bootagent /etc/bootagent /tmp /var/tmp /var/log/mysql`, `echo "$1" >/var/lib/bootagent/planted`},
	{
		"core", `grep -aF -l -s -- "$1" /var/cores/*`,
		`ulimit -c unlimited; sh -c 'kill -SEGV $$' "$1"`,
	},
}

// canary searches for the password wherever a secret could leak to on a running machine, after it
// has shown that each search finds what is there. It leaves what the disks and the network are
// searched for afterwards.
func canary(g guest, key *age.X25519Identity, capture string) {
	g.t.Helper()
	const planted = "planted-3e91c7aa5d02"
	g.sh("mkdir -p /var/cores; sysctl -qw kernel.core_pattern=/var/cores/%%p kernel.core_uses_pid=0 fs.suid_dumpable=2")

	// An agent that crashes leaves no core, not even where Go's runtime is told to: it has a key in its
	// memory.
	g.sh("mkdir -p /run/systemd/system/bootagent.service.d; printf '[Service]\\nEnvironment=GOTRACEBACK=crash\\n' " +
		">/run/systemd/system/bootagent.service.d/crash.conf; systemctl daemon-reload; systemctl restart bootagent")
	g.until(settles, "bootagent wait --timeout 60s")
	g.unlock(key)
	g.sh("systemctl kill --signal=SEGV --kill-whom=main bootagent")
	g.until(settles, "journalctl -b -u bootagent | grep -q 'status=6/ABRT' && bootagent wait --timeout 60s")
	g.is("", "ls /var/cores")

	for _, p := range places {
		if got := g.script(p.search, password); got != "" {
			g.t.Errorf("%s: the password is there:\n%s", p.name, got)
		}
		g.script(p.plant, planted)
		if got := g.script(p.search, planted); got == "" {
			g.t.Errorf("%s: the search does not find what was put there", p.name)
		}
	}
	g.sh("systemctl stop planted-socket planted-environment planted-args planted-args2; systemctl restart bootagent")

	for path, disk := range map[string]string{"/root/planted": g.DiskPath(), "/srv/data/planted": ""} {
		g.sh("echo %s >%s; sync -f %s", planted, path, path)
		if disk != "" && len(findIn(g.t, planted, disk)) == 0 {
			g.t.Errorf("the search of a disk does not find what is in %s", path)
		}
	}
	g.sh("echo %s | nc -N -w 5 169.254.169.4 80", planted)
	if len(findIn(g.t, planted, capture)) == 0 {
		g.t.Error("the search of the network does not find what went over it")
	}
}

// script runs a script in the guest with an argument, and gives what it prints.
func (g guest) script(script, arg string) string {
	g.t.Helper()
	r, err := g.Input(g.ctx, []byte("set -- \""+arg+"\"\n"+script+"\n"), "/bin/bash", "-s", "searching")
	if err != nil {
		g.t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(r.Stdout)
}

// findIn gives the files in which a text is, as it is or encoded.
func findIn(t *testing.T, text string, files ...string) (where []string) {
	t.Helper()
	for _, file := range files {
		found, err := inFile(file, encodings(text))
		if err != nil {
			t.Fatal(err)
		}
		if found != "" {
			where = append(where, fmt.Sprintf("%s: %s", file, found))
		}
	}
	return where
}

// encodings of a text: in base64 it has three forms, by where it begins.
func encodings(text string) [][]byte {
	all := [][]byte{[]byte(text), []byte(hex.EncodeToString([]byte(text)))}
	for shift := range 3 {
		in64 := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + text))
		all = append(all, []byte(in64[(shift*8+5)/6:(shift+len(text))*8/6]))
	}
	return all
}

func inFile(file string, texts [][]byte) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const overlap = 256
	buf := make([]byte, 4<<20)
	kept := 0
	for {
		n, err := io.ReadFull(f, buf[kept:])
		for _, text := range texts {
			if bytes.Contains(buf[:kept+n], text) {
				return string(text), nil
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		kept = copy(buf, buf[kept+n-overlap:kept+n])
	}
}

func TestTheSearchFindsATextHoweverItIsWritten(t *testing.T) {
	const text = "canary-7d1f0c4be29a"
	for _, written := range []string{
		text, hex.EncodeToString([]byte(text)),
		base64.StdEncoding.EncodeToString([]byte("p=" + text)), base64.StdEncoding.EncodeToString([]byte(text + " and more")),
		base64.StdEncoding.EncodeToString([]byte("pw=" + text + "!")), base64.StdEncoding.EncodeToString([]byte("a" + text)),
	} {
		file := t.TempDir() + "/file"
		if err := os.WriteFile(file, []byte(strings.Repeat("-", 4<<20-10)+written), 0o600); err != nil {
			t.Fatal(err)
		}
		if len(findIn(t, text, file)) == 0 {
			t.Errorf("%q is not found", written)
		}
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, []byte("canary-7d1f0c4be29b"), 0o600); err != nil {
		t.Fatal(err)
	}
	if len(findIn(t, text, file)) > 0 {
		t.Error("another text is found")
	}
}
