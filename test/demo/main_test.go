package main

import (
	"context"
	"testing"

	"bootagent/test/lab/image"
)

// TestTheDemoSucceeds runs the demo as make demo does, on the platform that the environment chooses.
func TestTheDemoSucceeds(t *testing.T) {
	on, err := image.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	t.Attr("platform", on.Name)
	t.Chdir("..") // the demo runs in test/
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := run(ctx); err != nil {
		t.Fatal(err)
	}
}
