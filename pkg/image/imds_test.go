package image

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAServiceThatWouldNotPassALockOfTheMetadataServiceIsTold(t *testing.T) {
	const role, pass = "etc/bootagent/roles.d/db.yaml", "bootagent-pass-imds.service"
	allowed := strings.Replace(dbRole, "mariadb.service: {", "mariadb.service: {imds: allow, ", 1)
	const would = "mariadb.service (imds: allow) would not pass the lock that systemd.imds.network=locked makes: "
	noBPF := would + "no BPF file system is mounted on /sys/fs/bpf, so the kernel may have no BPF"
	for name, c := range map[string]struct {
		files map[string]string
		runs  bool // an agent has run on it
		bpf   bool
		want  []string
	}{
		"no service has it": {runs: true},
		"an image":          {files: map[string]string{role: allowed}},
		"no BPF":            {files: map[string]string{role: allowed}, runs: true, want: []string{noBPF}},
		"BPF":               {files: map[string]string{role: allowed}, runs: true, bpf: true},
		"masked": {
			files: map[string]string{role: allowed, "etc/systemd/system/" + pass: "-> /dev/null"},
			want:  []string{would + pass + ": is masked, so nothing can start it: systemctl --root ROOT unmask " + pass},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			files := whole()
			maps.Copy(files, c.files)
			root := build(t, files)
			if c.bpf {
				if os.Geteuid() != 0 {
					t.Skip("not root: no BPF file system is mounted")
				}
				at := filepath.Join(root, "sys/fs/bpf")
				must(t, os.MkdirAll(at, 0o755))
				must(t, unix.Mount("none", at, "bpf", 0, ""))
				defer unix.Unmount(at, unix.MNT_DETACH)
			}
			img := load(t, root, true)
			img.Kept = !c.runs
			var got []string
			for _, line := range check(t, img).Suggested {
				if strings.Contains(line, "imds") {
					got = append(got, strings.ReplaceAll(line, root, "ROOT"))
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("suggests %q", got)
			}
		})
	}
}
