package cli

import "strings"

// ChangeUserData are the commands, as one line for a shell, by which a person
// gives an instance other user-data, which stands in the file user-data.yaml.
// EC2 changes it only while the instance is stopped: Amazon EC2 User Guide,
// "Update the instance user data".
func ChangeUserData(region, instance string) string {
	return strings.Join([]string{
		Command(region, "ec2 stop-instances", "--instance-ids", instance),
		Command(region, "ec2 wait instance-stopped", "--instance-ids", instance),
		"base64 user-data.yaml >user-data.base64",
		Command(region, "ec2 modify-instance-attribute", "--instance-id", instance, "--attribute", "userData", "--value", "file://user-data.base64"),
		Command(region, "ec2 start-instances", "--instance-ids", instance),
	}, " && ")
}
