package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

func TestAnAgentIsAliveWhileItIsThisProgram(t *testing.T) {
	if alive(os.Getpid()) {
		t.Error("the test counts as an agent")
	}
	if alive(1<<22 + 1) { // the largest number is 1<<22, proc(5)
		t.Error("no process counts as an agent")
	}
}

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
		"unknown command":      {[]string{"start"}, 2, "bootagent: unknown command \"start\"; bootagent help lists them\n"},
		"too many arguments":   {[]string{"status", "now"}, 2, "usage: bootagent status"},
		"too few arguments":    {[]string{"prove"}, 2, "prove wants 1 more argument(s)"},
		"unknown flag":         {[]string{"plan", "--jsn"}, 2, "not defined: -jsn"},
		"a flag's wrong value": {[]string{"wait", "--timeout", "soon"}, 2, `invalid value "soon"`},
		"an error":             {[]string{"prove", "/absent"}, 1, "bootagent: "},
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
