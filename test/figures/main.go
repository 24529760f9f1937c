// Figures measures what bootagent costs in a machine of the lab, and prints a text for docs/figures.md:
//
//   - the agent's own CPU time and peak memory when its role is ready;
//   - the time from the kernel's uevent of a disk to the start job of MariaDB on it, compared with
//     static units that do the same, in the same machine and boot;
//   - the same comparison for a boot with the disk present from the start;
//   - the sizes of the programs.
//
// It measures from outside, so that the agent has no code for it.
package main

import (
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/qemu"
)

const within = time.Hour // for the whole run, with more rounds than the default

func main() {
	rounds := flag.Int("rounds", 5, "how often to plug the disk, for each way")
	boots := flag.Int("boots", 3, "how often to boot the machine with its disk, for each way")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := measure(ctx, *rounds, *boots); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe figures failed: %v\n", err)
		os.Exit(1)
	}
}

// measure prints each figure as soon as it is measured, because all of them take 15 minutes.
func measure(ctx context.Context, rounds, boots int) (err error) {
	dir, err := os.MkdirTemp("", "bootagent-figures-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "\nThe console of the machine is in", dir)
		}
	}()
	if err := sizes(); err != nil {
		return err
	}
	img, err := newImage(ctx)
	if err != nil {
		return err
	}
	defer img.Close()
	g, disk, err := newGuest(ctx, img, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()

	sandbox, err := firstBoot(ctx, g, disk)
	if err != nil {
		return err
	}
	if err := plugged(ctx, g, disk, rounds); err != nil {
		return err
	}
	return booted(ctx, g, disk, sandbox, boots)
}

// sizes prints the sizes of the programs in the package.
func sizes() error {
	table := newTable("Size of the programs, amd64, static and stripped")
	for _, p := range []struct {
		name string
		aim  string
	}{{"bootagent", "at most 16 MiB"}, {"bootagent-generator", "at most 4 MiB"}} {
		path := filepath.Join("../build/amd64", p.name)
		program, err := elf.Open(path)
		if err != nil {
			return fmt.Errorf("cannot read the program: %w; run make package first", err)
		}
		defer program.Close()
		if program.Section(".symtab") != nil {
			return fmt.Errorf("%s is not stripped", path)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		table.row(p.name, fmt.Sprintf("%.1f MiB", float64(info.Size())/(1<<20)), "aim: "+p.aim)
	}
	return table.print()
}

// newImage builds an image with all example roles.
func newImage(ctx context.Context) (*image.Image, error) {
	debs, err := filepath.Glob("../build/bootagent_*_amd64.deb")
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("build/ does not contain exactly one package for amd64, but %q: run make package", debs)
	}
	return image.Build(ctx, image.Spec{
		Debs: debs,
		Files: map[string]image.File{
			"/etc/bootagent/agent.yaml": {Data: []byte("user-data: {file: /etc/bootagent/user-data}\n")},
		},
		Commands: [][]string{
			{"sh", "-c", "cp /usr/share/doc/bootagent/examples/roles.d/*.yaml /etc/bootagent/roles.d/"},
			{"bootagent", "validate"},
			{"bootagent", "guard", "install"},
		},
	}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// newGuest makes a database server, and a disk for it, which is not plugged in.
func newGuest(ctx context.Context, img *image.Image, dir string) (guest, *qemu.Disk, error) {
	disk, err := qemu.NewDisk(filepath.Join(dir, "volume.raw"), serial, 512<<20)
	if err != nil {
		return guest{}, nil, err
	}
	m, err := lab.New(ctx, img, lab.Config{
		Dir: filepath.Join(dir, "machine"),
		Files: map[string]image.File{
			"/etc/bootagent/user-data": {Data: []byte(userData)},
			staticPath:                 {Data: []byte(static), Mode: 0o755},
		},
	}, slog.New(slog.DiscardHandler))
	return guest{m}, disk, err
}

// A table has a headline and rows with aligned columns.
type table struct {
	text strings.Builder
	to   *tabwriter.Writer
}

func newTable(headline string, args ...any) *table {
	t := new(table)
	fmt.Fprintf(&t.text, "\n"+headline+"\n", args...)
	t.to = tabwriter.NewWriter(&t.text, 0, 0, 3, ' ', 0)
	return t
}

func (t *table) row(cells ...string) {
	fmt.Fprintln(t.to, "   "+strings.Join(cells, "\t"))
}

func (t *table) print() error {
	if err := t.to.Flush(); err != nil {
		return err
	}
	_, err := fmt.Print(t.text.String())
	return err
}
