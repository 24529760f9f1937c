package execstart

import "testing"

func TestASandboxDeniesWhatTheServiceCannotWrite(t *testing.T) {
	debian := Sandbox{ProtectSystem: "strict", ProtectHome: "yes", PrivateTmp: true, ReadWrite: []string{"-/var/lib/redis", "-/var/log/redis", "-/etc/redis"}}
	for name, c := range map[string]struct {
		box  Sandbox
		dir  string
		want string
	}{
		"no sandbox":                           {Sandbox{}, "/usr/x", ""},
		"Debian's own":                         {debian, "/var/lib/redis", ""},
		"below Debian's own":                   {debian, "/var/lib/redis/6380", ""},
		"beside Debian's own":                  {debian, "/var/lib/redis2", "ProtectSystem=strict"},
		"the root":                             {debian, "/", "ProtectSystem=strict"},
		"another one":                          {debian, "/srv/data/redis", "ProtectSystem=strict"},
		"a home directory":                     {debian, "/home/redis", "ProtectHome=yes"},
		"its own /tmp":                         {debian, "/var/tmp/redis", "PrivateTmp=yes"},
		"a path of a drop-in":                  {Sandbox{ProtectSystem: "strict", ReadWrite: []string{"/srv/data"}}, "/srv/data/redis", ""},
		"full, in /srv":                        {Sandbox{ProtectSystem: "full"}, "/srv/redis", ""},
		"full, in /etc":                        {Sandbox{ProtectSystem: "full"}, "/etc/redis", "ProtectSystem=full"},
		"yes, in /etc":                         {Sandbox{ProtectSystem: "yes"}, "/etc/redis", ""},
		"yes, in /usr":                         {Sandbox{ProtectSystem: "yes"}, "/usr/redis", "ProtectSystem=yes"},
		"a state directory":                    {Sandbox{ProtectSystem: "strict", State: []string{"redis"}}, "/var/lib/redis", ""},
		"read-only below a path of ours":       {Sandbox{ReadWrite: []string{"/srv"}, ReadOnly: []string{"-/srv/a"}}, "/srv/a/b", "ReadOnlyPaths=-/srv/a"},
		"a path of ours below one that is not": {Sandbox{ReadOnly: []string{"/srv"}, ReadWrite: []string{"/srv/a"}}, "/srv/a", ""},
		"both, of one path":                    {Sandbox{ReadOnly: []string{"/srv"}, ReadWrite: []string{"/srv"}}, "/srv", "ReadOnlyPaths=/srv"},
		"inaccessible":                         {Sandbox{Inaccessible: []string{"/srv"}}, "/srv/a", "InaccessiblePaths=/srv"},
		"a temporary filesystem":               {Sandbox{Temporary: []string{"/var"}}, "/var/lib/redis", "TemporaryFileSystem=/var"},
		"a path of ours in one":                {Sandbox{Temporary: []string{"/var"}, ReadWrite: []string{"/var/lib/redis/"}}, "/var/lib/redis", ""},
	} {
		if got := (Service{Sandbox: c.box}).Denies(c.dir); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
