package contract

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/contract.md from the results in ../../build/results")

const page = "../../docs/contract.md"

func TestThePageHasEveryCell(t *testing.T) {
	if *update {
		all, err := Read("../../build/results")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(page, []byte(Page(all)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	all := Parse(string(text))
	if Page(all) != string(text) {
		t.Errorf("docs/contract.md is not the page of these engines, situations and promises: run make contract")
	}
	for _, e := range Engines() {
		if missing := Missing(e.Platform, []string{e.Name}, all); len(missing) > 0 {
			t.Errorf("cells of docs/contract.md are empty: run make contract\n%s", strings.Join(missing, "\n"))
		}
	}
}

func TestACellThatNoTestFilledIsMissing(t *testing.T) {
	var all []Cell
	for _, e := range Engines() {
		for _, situation := range Situations() {
			for _, promise := range Promises() {
				all = append(all, Cell{e.Platform, e.Name, situation, promise, "seen in " + situation})
			}
		}
	}
	all[3].Seen = ""
	dir := t.TempDir()
	if _, err := Read(dir); err == nil {
		t.Error("a contract without results is read")
	}
	if err := Write(dir, "mixed", all); err != nil {
		t.Fatal(err)
	}
	read, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range [][]Cell{read, Parse(Page(read))} {
		first := Engines()[0]
		want := first.Name + ": " + Situations()[0] + ": " + Promises()[3]
		if missing := strings.Join(Missing(first.Platform, []string{first.Name}, all), "\n"); missing != want {
			t.Errorf("got %q, want %q", missing, want)
		}
		if missing := Missing(Engines()[1].Platform, []string{Engines()[1].Name}, all); missing != nil {
			t.Errorf("missing: %q", missing)
		}
	}
}
