// Package grammar joins what role files may name: the database engines of package
// engine and the sources of package sources.
package grammar

import (
	"bootagent/pkg/engine"
	"bootagent/pkg/role"
	"bootagent/pkg/secret/sources"
)

// All returns the grammar of the role files that the agent reads.
func All() role.Grammar {
	g := role.Grammar{Engines: engine.Names(), Plain: engine.Plain()}
	for _, s := range sources.All(nil) {
		g.Sources = append(g.Sources, s.Syntax())
	}
	return g
}
