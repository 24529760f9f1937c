package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestErrorsBecomeExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"nothing":              {nil, 0, ""},
		"help":                 {[]string{"--help"}, 0, ""},
		"help of a command":    {[]string{"wait", "-h"}, 0, ""},
		"version":              {[]string{"version"}, 0, ""},
		"--version":            {[]string{"--version"}, 0, ""},
		"help COMMAND":         {[]string{"help", "wait"}, 0, ""},
		"help of none":         {[]string{"help", "wiat"}, 2, `unknown command "wiat"; did you mean "wait"?`},
		"a near miss":          {[]string{"inspekt"}, 2, `unknown command "inspekt"; did you mean "inspect"?`},
		"no subcommand":        {[]string{"guard"}, 2, "bootagent guard needs a subcommand first: install, check, remove, show"},
		"a wrong subcommand":   {[]string{"guard", "instal"}, 2, `unknown subcommand "instal" of bootagent guard; did you mean "install"? (it has: install, check, remove, show)`},
		"a flag without value": {[]string{"plan", "--roles"}, 2, "flag --roles needs a value"},
		"unknown command":      {[]string{"start"}, 2, "bootagent: unknown command \"start\"\nbootagent help lists the commands\n"},
		"too many arguments":   {[]string{"status", "now"}, 2, "usage: bootagent status"},
		"too few arguments":    {[]string{"inspect"}, 2, "an argument is missing: DEVICE"},
		"unknown flag":         {[]string{"plan", "--jsn"}, 2, `unknown flag --jsn; did you mean "--json"?`},
		"a flag's wrong value": {[]string{"wait", "--timeout", "soon"}, 2, `invalid value "soon" for --timeout: a duration is`},
		"an error":             {[]string{"inspect", "/absent"}, 1, "bootagent: "},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(context.Background(), c.args, &out, &errs)
			if code != c.code || !strings.Contains(errs.String(), c.errs) || (c.errs == "") != (errs.Len() == 0) {
				t.Errorf("exit %d, %s", code, errs.String())
			}
		})
	}
}

func TestWhatACommandPrintsIsHarmless(t *testing.T) {
	var out, errs bytes.Buffer
	name := filepath.Join(t.TempDir(), "a\x1b[31m\u202eb.yaml")
	if code := run(t.Context(), []string{"validate", name}, &out, &errs); code != exitFailed {
		t.Fatalf("exit %d", code)
	}
	if err := os.WriteFile(name, []byte("version: 1\nrole: web\nservices: {web.service: {}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"validate", name}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, printed := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(printed, "\x1b\u202e") || !strings.Contains(printed, `a\u001b[31m\u202eb.yaml`) {
			t.Errorf("got %q", printed)
		}
	}
}
