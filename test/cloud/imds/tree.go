package imds

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An Instance is what the metadata service says about its instance.
type Instance struct {
	ID, Type, Zone string
	ImageID        string
	Address        string // private
	Launched       time.Time
	UserData       []byte            // nil if there is none
	Tags           map[string]string // nil if the instance may not read them

	// Role is the IAM role; "" if there is none. Its instance profile has the same name.
	Role, ProfileARN, ProfileID string

	RootDevice string
	Devices    []string // the other devices that were attached at the last start
}

// tree returns all items, by their paths below /latest/.
func (m *IMDS) tree(i Instance) map[string]string {
	region := m.env.Region
	host := "ip-" + strings.ReplaceAll(i.Address, ".", "-") + "." + region + ".compute.internal"
	tree := map[string]string{
		"dynamic/instance-identity/document":       m.document(i),
		"meta-data/ami-id":                         i.ImageID,
		"meta-data/block-device-mapping/ami":       strings.TrimPrefix(i.RootDevice, "/dev/"),
		"meta-data/block-device-mapping/root":      i.RootDevice,
		"meta-data/events/maintenance/scheduled":   "[]",
		"meta-data/hostname":                       host,
		"meta-data/instance-id":                    i.ID,
		"meta-data/instance-life-cycle":            "on-demand",
		"meta-data/instance-type":                  i.Type,
		"meta-data/local-hostname":                 host,
		"meta-data/local-ipv4":                     i.Address,
		"meta-data/placement/availability-zone":    i.Zone,
		"meta-data/placement/availability-zone-id": zoneID(region, i.Zone),
		"meta-data/placement/region":               region,
		"meta-data/reservation-id":                 "r-" + strings.TrimPrefix(i.ID, "i-"),
		"meta-data/services/domain":                "amazonaws.com",
		"meta-data/services/partition":             "aws",
	}
	for n, device := range i.Devices {
		tree[fmt.Sprintf("meta-data/block-device-mapping/ebs%d", n+1)] = strings.TrimPrefix(device, "/dev/")
	}
	if i.UserData != nil {
		tree["user-data"] = string(i.UserData)
	}
	for key, value := range i.Tags {
		tree["meta-data/tags/instance/"+key] = value
	}
	if i.Role != "" {
		tree["meta-data/iam/info"] = toJSON(map[string]string{
			"Code": "Success", "LastUpdated": second(i.Launched),
			"InstanceProfileArn": i.ProfileARN, "InstanceProfileId": i.ProfileID,
		})
		m.mu.Lock()
		if !time.Now().Before(m.from) {
			tree["meta-data/iam/security-credentials/"+i.Role] = i.Role
		}
		m.mu.Unlock()
	}
	return tree
}

// zoneID returns the ID of a zone: euc1-az2 for eu-central-1b. In AWS, which zone has which ID depends on
// the account.
func zoneID(region, zone string) string {
	short := ""
	for n, part := range strings.Split(region, "-") {
		if n == 1 {
			part = part[:1]
		}
		short += part
	}
	return fmt.Sprintf("%s-az%d", short, zone[len(zone)-1]-'a'+1)
}

// entries lists a directory of the tree. Directories in it end in a slash.
func entries(tree map[string]string, dir string) []string {
	in := map[string]bool{}
	for path := range tree {
		if dir != "" {
			var ok bool
			if path, ok = strings.CutPrefix(path, dir+"/"); !ok {
				continue
			}
		}
		name, _, deeper := strings.Cut(path, "/")
		if deeper {
			name += "/"
		}
		in[name] = true
	}
	return slices.Sorted(maps.Keys(in))
}

// document returns the identity document.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func (m *IMDS) document(i Instance) string {
	return toJSON(map[string]any{
		"accountId": m.env.Account, "architecture": "x86_64", "availabilityZone": i.Zone,
		"billingProducts": nil, "devpayProductCodes": nil, "marketplaceProductCodes": nil,
		"imageId": i.ImageID, "instanceId": i.ID, "instanceType": i.Type, "kernelId": nil,
		"pendingTime": second(i.Launched), "privateIp": i.Address, "ramdiskId": nil,
		"region": m.env.Region, "version": "2017-09-30",
	})
}

func toJSON(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // maps of strings can't fail
	}
	return string(data)
}

func second(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
