package main

import (
	"encoding/json"
	"testing"

	"bootagent/pkg/role"
)

// bootagent release reads the file that the daemon writes.
func TestReleaseFindsTheMountPointsOfTheKeptPlan(t *testing.T) {
	src, err := json.Marshal(role.Plan{Role: "db", Volumes: []role.Volume{{Name: "data", Mount: "/srv/data"}}})
	if err != nil {
		t.Fatal(err)
	}
	var plan role.Plan
	if err := json.Unmarshal(src, &plan); err != nil || len(plan.Volumes) != 1 || plan.Volumes[0].Mount != "/srv/data" || plan.Volumes[0].Name != "data" {
		t.Errorf("got %+v, %v", plan, err)
	}
}
