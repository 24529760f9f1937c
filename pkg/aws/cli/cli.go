// Package cli writes commands of AWS's command line as hints hold them, so
// that a person can paste them into a shell. It runs nothing.
package cli

import (
	"strings"

	"bootagent/pkg/shell"
)

// Own is said before a command that the instance's IAM role does not allow, as
// `bootagent iam` prints it: a person runs it where their own credentials are.
const Own = "with your own credentials: "

// Command is a command in a region: "ec2 detach-volume" with its arguments.
// Each argument is quoted for a shell where it has to be. Without a region the
// command asks in the region that is set where it is pasted.
func Command(region, command string, args ...string) string {
	words := []string{"aws", command}
	if region != "" {
		args = append([]string{"--region", region}, args...)
	}
	for _, arg := range args {
		words = append(words, shell.Quote(arg))
	}
	return strings.Join(words, " ")
}
