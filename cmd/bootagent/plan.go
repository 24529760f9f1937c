package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/boot"
	"bootagent/pkg/host"
	"bootagent/pkg/instance"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
)

const rolesUsage = "read the role files in this `DIR`"

func planCommand() command {
	return command{
		name:    "plan",
		args:    "[--json] [--steps] [--roles DIR] [--user-data FILE]",
		summary: "show what the agent would do on this instance",
		about: "Print what the agent would do on this instance: its volumes, data directories, secrets and\n" +
			"services. This changes nothing.",
		examples: []string{"bootagent plan", "bootagent plan --roles roles.d --user-data user-data"},
		setup: func(f *flag.FlagSet) action {
			asJSON := f.Bool("json", false, "print the plan as JSON")
			steps := f.Bool("steps", false, "also print the steps of the boot, and which steps each step needs")
			dir := f.String("roles", rolesDir, rolesUsage)
			userData := f.String("user-data", "", "print the plan of an example instance with the user-data in `FILE`")
			return func(ctx context.Context, _ []string, out io.Writer) error {
				plan, err := planOf(ctx, *dir, *userData)
				switch {
				case err != nil:
					return err
				case *asJSON:
					return printJSON(out, plan)
				}
				printPlan(out, plan)
				if *steps {
					fmt.Fprintf(out, "\nsteps\n%s", boot.New(plan, host.Host{}, slog.New(slog.DiscardHandler)))
				}
				return nil
			}
		},
	}
}

// planOf makes the plan of this instance, or of an example instance with
// user-data from a file.
func planOf(ctx context.Context, dir, userData string) (role.Plan, error) {
	set, err := settings.Load(agentFile)
	if err != nil {
		return role.Plan{}, err
	}
	from, facts, err := identityOf(ctx, set, userData)
	if err != nil {
		return role.Plan{}, err
	}
	plan, _, err := selectPlan(set, dir, from, facts)
	return plan, err
}

// example is the instance with which user-data from a file is tried.
var example = role.Instance{ID: "i-0123456789abcdef0", Zone: "eu-central-1a", Region: "eu-central-1", Type: "m7g.large"}

// identityOf returns the identity and the user-data of this machine, or of the
// example with user-data from a file.
func identityOf(ctx context.Context, set settings.Settings, userData string) (source, host.Identity, error) {
	switch {
	case userData != "":
		facts, err := localFacts(userData)
		facts.Instance = example
		return source(userData), facts, err
	case set.UserDataFile != "":
		facts, err := localFacts(set.UserDataFile)
		return source(set.UserDataFile), facts, err
	}
	facts, err := instance.New(set.Endpoints.IMDS).Facts(ctx)
	return imdsSource, asFacts(facts), err
}

// printPlan prints a plan for a person: each key that says what is done, with
// its value.
func printPlan(out io.Writer, plan role.Plan) {
	p := planPrinter{out}
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
	for _, s := range plan.Services {
		p.service(s)
	}
}

type planPrinter struct{ out io.Writer }

func (p planPrinter) head(kind, name string) { fmt.Fprintf(p.out, "\n%s %s\n", kind, name) }

func (p planPrinter) row(key, value string) {
	fmt.Fprintf(p.out, "  %-11s %s\n", key, value)
}

func (p planPrinter) volume(v role.Volume) {
	p.head("volume", v.Name)
	device := "the NVMe disk of this EBS volume, after the agent attached it"
	switch {
	case v.Find.Serial != "":
		p.row("find", "the disk with serial number "+v.Find.Serial)
		device = "the NVMe disk that reports this serial number; the agent waits until somebody attaches it"
	case v.Find.ID != "":
		p.row("find", "the EBS volume "+v.Find.ID)
	default:
		var tags []string
		for _, key := range slices.Sorted(maps.Keys(v.Find.Tags)) {
			tags = append(tags, key+"="+v.Find.Tags[key])
		}
		p.row("find", "the EBS volume with the tags "+strings.Join(tags, ", "))
	}
	p.row("device", device)
	p.row("mount", v.Mount)
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
	p.row("timeout", duration(v.Timeout))
}

func (p planPrinter) data(d role.Data, mount string) {
	p.head("data", d.Name)
	p.row("volume", d.Volume)
	p.row("dir", d.Dir+" ("+mount+"/"+d.Dir+")")
	p.row("bind", d.Bind)
	p.row("engine", string(d.Engine))
	p.row("owner", d.Owner)
	if d.IfAbsent == role.Initialize {
		p.row("if-absent", string(d.IfAbsent)+": make an empty database, if the volume never had one")
	} else {
		p.row("if-absent", string(d.IfAbsent))
	}
	if len(d.Beside) > 0 {
		p.row("beside", strings.Join(d.Beside, ", "))
	}
}

func (p planPrinter) service(s role.Service) {
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
		p.row("ready", "when "+s.Ready.Unit+" succeeds, within "+duration(s.Ready.Timeout))
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
