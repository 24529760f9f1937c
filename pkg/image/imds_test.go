package image

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestAServiceThatWouldNotPassALockOfTheMetadataServiceIsTold(t *testing.T) {
	const role, mounts, pass = "etc/bootagent/roles.d/db.yaml", "proc/self/mounts", "bootagent-pass-imds.service"
	allowed := strings.Replace(dbRole, "mariadb.service: {", "mariadb.service: {imds: allow, ", 1)
	const would = "mariadb.service (imds: allow) would not pass the lock that systemd.imds.network=locked makes: "
	noBPF := would + "no BPF file system is mounted on /sys/fs/bpf, so the kernel may have no BPF"
	for name, c := range map[string]struct {
		files map[string]string
		runs  bool // an agent has run on it
		want  []string
	}{
		"no service has it": {runs: true},
		"an image":          {files: map[string]string{role: allowed}},
		"no BPF":            {files: map[string]string{role: allowed, mounts: "sysfs /sys sysfs rw 0 0\n"}, runs: true, want: []string{noBPF}},
		"BPF":               {files: map[string]string{role: allowed, mounts: "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n"}, runs: true},
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
