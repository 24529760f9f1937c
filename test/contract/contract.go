// Package contract has the table of what bootagent promises for each engine in each situation. The
// end-to-end tests fill its cells; the package writes docs/contract.md from them.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An Engine is what a service is, to bootagent, and the platform of the lab on which its part of the
// page is made.
type Engine struct {
	Name     string
	Platform string
	Says     string // how its cells are to be read, if not as the others
}

// Engines returns the engines, in the order of the page.
func Engines() []Engine {
	return []Engine{
		{Name: "MariaDB", Platform: "bookworm"},
		{Name: "PostgreSQL", Platform: "bookworm", Says: "Its log, `pg_wal`, is on a second volume."},
		{Name: "Redis", Platform: "bookworm", Says: "`appendonly` is `yes`, and `appendfsync` is `always`."},
		{
			Name: "none", Platform: "bookworm",
			Says: "A stand-in for Kafka: it keeps messages in a file. Its storage is copied from the image, and a person copies another directory, on a second volume.",
		},
		{
			Name: "nginx", Platform: "bookworm",
			Says: "It has no volume. In its place are a configuration file on the ramfs, and the secret in that file, " +
				"for which a person brings the key at each boot. While the volumes of the others are away, it runs on.",
		},
	}
}

// Situations returns what happens to a machine.
func Situations() []string {
	return []string{"first boot", "second boot", "replacement", "agent upgraded", "agent down", "pulled disk", "reboot", "power cut"}
}

// Promises returns what holds in each situation.
func Promises() []string {
	return []string{"never early", "stops before unmount", "comes back", "rows there"}
}

// A Cell is what a test saw of one promise.
type Cell struct {
	Platform, Engine, Situation, Promise string
	Seen                                 string // without numbers that differ from run to run
}

// cells are those of one platform, by engine, situation and promise.
type cells map[[3]string]string

func of(platform string, all []Cell) cells {
	c := cells{}
	for _, cell := range all {
		if cell.Platform == platform {
			c[[3]string{cell.Engine, cell.Situation, cell.Promise}] = cell.Seen
		}
	}
	return c
}

// Missing returns the cells of engines that nobody filled.
func Missing(platform string, engines []string, all []Cell) (missing []string) {
	filled := of(platform, all)
	for _, engine := range engines {
		for _, situation := range Situations() {
			for _, promise := range Promises() {
				if filled[[3]string{engine, situation, promise}] == "" {
					missing = append(missing, fmt.Sprintf("%s: %s: %s", engine, situation, promise))
				}
			}
		}
	}
	return missing
}

// Table returns the part of the page for an engine. It has an empty cell where nothing was seen.
func Table(e Engine, all []Cell) string {
	filled := of(e.Platform, all)
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\nOn %s.%s\n\n", e.Name, e.Platform, strings.TrimRight(" "+e.Says, " "))
	fmt.Fprintf(&b, "| | %s |\n|%s\n", strings.Join(Promises(), " | "), strings.Repeat(" --- |", len(Promises())+1))
	for _, situation := range Situations() {
		row := []string{situation}
		for _, promise := range Promises() {
			row = append(row, filled[[3]string{e.Name, situation, promise}])
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

// Page returns docs/contract.md.
func Page(all []Cell) string {
	parts := []string{head}
	for _, e := range Engines() {
		parts = append(parts, Table(e, all))
	}
	return strings.Join(parts, "\n")
}

// Write writes the cells of a platform to a file in dir, a line of JSON for each.
func Write(dir, platform string, all []Cell) error {
	var b bytes.Buffer
	for _, cell := range all {
		line, err := json.Marshal(cell)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, prefix+platform+".jsonl"), b.Bytes(), 0o644)
}

const prefix = "contract-"

// Read returns the cells of all files that Write has written to dir.
func Read(dir string) (all []Cell, err error) {
	files, err := fs.Glob(os.DirFS(dir), prefix+"*.jsonl")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			var cell Cell
			if err := json.Unmarshal(line, &cell); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, cell)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no test has filled a cell of the contract: run make contract")
	}
	return all, nil
}

const head = `# The contract (reference)

What holds for each engine in each situation. Each cell is written by an assertion of the end-to-end tests that ran on a
machine with a real systemd, real disks and the real server: ` + "`make contract`" + ` fills the table, and a test fails if a
cell is empty.

The situations:

- **first boot**: the disks are blank, and are attached after the machine is up.
- **second boot**: the machine was powered off. The disks are attached again after it is up.
- **replacement**: the disks are attached to another machine of the same image.
- **agent upgraded**: the package is installed again while the services run, which stay the same processes.
- **agent down**: that new agent is stopped, and the services stay the same processes. Then the volumes are unmounted, by
  hand. The cells of both situations are what was seen after that.
- **pulled disk**: the disks are pulled while the services run, and come back.
- **reboot**: ` + "`systemctl reboot`" + `, with the disks attached.
- **power cut**: the machine and the disks lose what was not flushed. The services stop at a power-off after they came back.

The promises:

- **never early**: nothing starts the service before the agent granted it in this boot: not ` + "`systemctl start`" + ` of it, of its
  aliases, of a service that requires it, of a timer or a socket for it, not its init script or its own control program, not
  ` + "`systemctl isolate`" + `. The cell says how many roads were tried while the disks were away. At a boot with the disks attached,
  enabled units try it, and the service was started after its volumes were mounted and its grant was made.
- **stops before unmount**: the service stopped, then its grant, and only then its directory and its volume were unmounted.
- **comes back**: the service serves without a command of a person (but the key of a secret).
- **rows there**: a client of the engine reads all that was written before.
`

// Parse returns the cells of a page that Page has written.
func Parse(page string) (all []Cell) {
	for _, e := range Engines() {
		_, table, _ := strings.Cut(page, "\n## "+e.Name+"\n")
		table, _, _ = strings.Cut(table, "\n## ")
		for _, situation := range Situations() {
			_, row, _ := strings.Cut(table, "\n| "+situation+" | ")
			row, _, _ = strings.Cut(row, " |\n")
			for i, seen := range strings.Split(row, " | ") {
				if i < len(Promises()) {
					all = append(all, Cell{e.Platform, e.Name, situation, Promises()[i], seen})
				}
			}
		}
	}
	return all
}
