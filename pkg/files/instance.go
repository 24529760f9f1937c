package files

import (
	"fmt"
	"strings"

	"bootagent/pkg/host"
	"bootagent/pkg/role/file"
)

// InstanceEnv returns the environment file that says which instance this is, for
// services that may not ask the metadata service. A value that is not known is not
// in it.
func InstanceEnv(i host.Instance) []byte {
	var b strings.Builder
	for _, v := range []struct{ name, value string }{
		{"INSTANCE_ID", i.ID},
		{"AVAILABILITY_ZONE", i.Zone},
		{"REGION", i.Region},
		{"INSTANCE_TYPE", i.Type},
		{"PRIVATE_IPV4", i.PrivateIPv4},
	} {
		if v.value != "" {
			fmt.Fprintf(&b, "%s=\"%s\"\n", v.name, file.Quote(v.value))
		}
	}
	return []byte(b.String())
}
