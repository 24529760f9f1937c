// Package plantext prints a plan for a person: what the agent would do. It asks
// nobody.
package plantext

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/role/file"
	"bootagent/pkg/role/find"
	"bootagent/pkg/role/ready"
)

// Print prints a plan: each volume, data directory, secret and service, with the
// keys of the role file and what they mean.
func Print(out io.Writer, plan role.Plan) {
	p := printer{out}
	fmt.Fprintf(out, "role %s\n", plan.Role)
	mounts := make(map[string]string)
	for _, v := range plan.Volumes {
		mounts[v.Name] = v.Mount
		p.volume(v)
	}
	for _, d := range plan.Data {
		p.data(d, mounts[d.Volume])
	}
	for _, s := range plan.Secrets {
		p.head("secret", s.Name)
		p.row("from", s.From.String())
		p.row("credential", s.Credential)
		p.row("services", strings.Join(s.Services, ", "))
	}
	for _, f := range plan.Files {
		p.file(f)
	}
	for _, s := range plan.Services {
		p.service(s)
	}
}

type printer struct{ out io.Writer }

func (p printer) head(kind, name string) { fmt.Fprintf(p.out, "\n%s %s\n", kind, name) }

func (p printer) row(key, value string) {
	fmt.Fprintf(p.out, "  %-11s %s\n", key, value)
}

func (p printer) volume(v role.Volume) {
	p.head("volume", v.Name)
	device := "the NVMe disk of this EBS volume, after the agent attached it"
	switch {
	case v.Find.Serial != "":
		p.row("find", "the disk with serial number "+v.Find.Serial)
		device = "the NVMe disk that reports this serial number; the agent waits until somebody attaches it"
	case v.Find.OnDisk():
		by := "the UUID " + v.Find.UUID
		if v.Find.Label != "" {
			by = "the label " + v.Find.Label
		}
		p.row("find", fmt.Sprintf("the one disk whose %s filesystem has %s", v.Filesystem, by))
		device = "the NVMe disk with that filesystem; the agent waits until somebody attaches it"
	case v.Find.Store != "":
		p.row("find", "the one NVMe disk of the instance store ("+string(v.Find.Store)+")")
		device = "the NVMe disk that reports the model of instance store; what is on it is lost when the instance stops or is terminated"
	case v.Find.ID != "":
		p.row("find", "the EBS volume "+v.Find.ID)
	case v.Find.Attached != "":
		p.row("find", "the EBS volume that EC2 says this instance has as "+v.Find.Attached)
		device = "the NVMe disk of this EBS volume; the agent waits until EC2 has attached it"
	default:
		var tags []string
		for _, key := range slices.Sorted(maps.Keys(v.Find.Tags)) {
			tags = append(tags, key+"="+v.Find.Tags[key])
		}
		which := "the EBS volume with the tags "
		if v.Find.Pick == find.AnyFree {
			which = "any EBS volume of the zone that no other instance has (" + string(find.AnyFree) + "), with the tags "
		}
		p.row("find", which+strings.Join(tags, ", "))
	}
	p.row("device", device)
	p.row("mount", v.Mount)
	if len(v.Options) > 0 {
		p.row("options", strings.Join(v.Options, ", "))
	}
	p.row("filesystem", string(v.Filesystem))
	switch {
	case v.Format != role.FormatIfBlank:
		p.row("format", string(v.Format))
	case v.BlankProof == role.Whole:
		p.row("format", string(v.Format)+": only if all of the disk was read and is blank ("+string(v.BlankProof)+")")
	default:
		p.row("format", string(v.Format)+": only if the disk is proven blank")
	}
	if v.Adopt {
		p.row("adopt", "true: take a filesystem that has no ledger")
	}
	if v.Disposable {
		p.row("disposable", "true: an empty volume is as good as one with data")
	}
	p.row("timeout", duration(v.Timeout))
}

func (p printer) data(d role.Data, mount string) {
	p.head("data", d.Name)
	p.row("volume", d.Volume)
	if d.Dir == directory.Root {
		p.row("dir", d.Dir+" (all of the volume, "+mount+")")
	} else {
		p.row("dir", d.Dir+" ("+mount+"/"+d.Dir+")")
	}
	p.row("bind", bind(d))
	p.row("engine", string(d.Engine))
	p.row("owner", d.Owner)
	if d.Group != "" {
		p.row("group", d.Group)
	}
	if d.Mode != "" {
		p.row("mode", d.Mode)
	}
	what := string(d.IfAbsent)
	switch {
	case d.IfAbsent == directory.Initialize && d.Plain:
		what += ": make an empty directory, if the volume never had one"
	case d.IfAbsent == directory.Initialize:
		what += ": make an empty database, if the volume never had one"
	case d.IfAbsent == directory.Copy:
		what += ": copy " + d.CopyFrom + ", if the volume never had it"
	case d.IfAbsent == directory.Wait:
		what += ": wait until a person has copied it, if the volume never had it"
	}
	p.row("if-absent", what)
	if len(d.Beside) > 0 {
		p.row("beside", strings.Join(d.Beside, ", "))
	}
}

// bind says where data is bound.
func bind(d role.Data) string {
	switch {
	case d.Auto && d.Bind == "":
		return fmt.Sprintf("auto (%s is asked at boot where it keeps its data)", d.Engine)
	case d.Auto:
		return fmt.Sprintf("%s (auto: %s says that it keeps its data there)", d.Bind, d.Engine)
	}
	return d.Bind
}

// file prints a file as the role file has it: with what stands for the values of
// volumes and secrets.
func (p printer) file(f file.File) {
	p.head("file", f.Name)
	p.row("path", f.Path())
	for i, line := range strings.Split(strings.TrimSuffix(f.Content.String(), "\n"), "\n") {
		if len(f.Content) > 0 {
			p.row([]string{"content", ""}[min(i, 1)], line)
		}
	}
	for i, v := range f.Env {
		p.row([]string{"env", ""}[min(i, 1)], v.Name+"="+v.Value.String())
	}
	for _, put := range slices.Sorted(maps.Keys(f.Patterns)) {
		p.row("patterns", "${"+put+"} has to match "+f.Patterns[put])
	}
	p.row("owner", f.Owner)
	if f.Group != "" {
		p.row("group", f.Group)
	}
	p.row("mode", string(f.Mode))
	p.row("services", strings.Join(f.Services, ", "))
}

func (p printer) service(s role.Service) {
	p.head("service", s.Unit)
	var needs []string
	for _, n := range s.Needs {
		needs = append(needs, n.String())
	}
	if len(needs) == 0 {
		needs = []string{"nothing"}
	}
	p.row("needs", strings.Join(needs, ", "))
	if s.Ready != nil {
		p.row("ready", "when "+serves(*s.Ready)+", within "+duration(s.Ready.Timeout))
	} else {
		p.row("ready", "when systemd reports that it is active")
	}
	p.row("held", strings.Join(append([]string{s.Unit}, s.AlsoGuard...), ", ")+" until the needs are met")
	if s.IMDS {
		p.row("imds", "allow: may use the instance metadata service")
	} else {
		p.row("imds", "no access to the instance metadata service")
	}
}

// serves says when a probe says that its service serves.
func serves(r ready.Ready) string {
	switch {
	case r.TCP != "", r.Unix != "":
		return r.TCP + r.Unix + " accepts a connection"
	case r.HTTP != "":
		return r.HTTP + " answers with a status of 200 to 299"
	case r.User != "":
		return r.String() + " exits with 0, as the user " + r.User
	case len(r.Command) > 0:
		return r.String() + " exits with 0, as the user of the service"
	}
	return r.Unit + " succeeds"
}

// duration is a duration as a role file has it: 20m, not 20m0s.
func duration(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
