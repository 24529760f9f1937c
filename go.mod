module bootagent

go 1.26

require (
	github.com/coreos/go-systemd/v22 v22.7.0
	golang.org/x/sys v0.47.0
	gopkg.in/yaml.v3 v3.0.1
)

require github.com/godbus/dbus/v5 v5.1.0

require github.com/google/renameio/v2 v2.0.2
