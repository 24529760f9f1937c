package role

import (
	"fmt"
	"strings"

	"bootagent/pkg/policy"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/role/key"
	"bootagent/pkg/role/source"
)

// A Grammar says what role files may name beside the keys themselves. The zero
// Grammar accepts any word for an engine and any text for a source; it suits
// programs that need no more than the units of a role.
type Grammar struct {
	Engines []string        // names of database engines
	Plain   []string        // those of them that are services of any kind, which keep any files
	Sources source.Syntaxes // where secrets come from
}

// NeedsCloud says what of a plan of this role no machine without the API of a cloud can
// make true, if there is such a thing: `volume "data", which is found by its
// tags`.
func (r *Role) NeedsCloud(p *Plan) (what string, needs bool) {
	for _, v := range p.Volumes {
		if how := v.Find.Cloud(); how != "" {
			return fmt.Sprintf("volume %q, which %s", v.Name, how), true
		}
	}
	for _, s := range p.Secrets {
		if syntax, _ := r.grammar.Sources.Of(s.From); syntax.Cloud {
			return fmt.Sprintf("secret %q, which comes from %s", s.Name, s.From), true
		}
	}
	return "", false
}

// Permissions are what IAM has to allow for a role, whatever its instance is;
// expansions that stand in it are still in them. The caller adds the partition
// and the tags that are written.
func (g Grammar) Permissions(r *Role) policy.Needs {
	var needs policy.Needs
	for _, s := range sections {
		if s.permit != nil {
			s.permit(g, r, &needs)
		}
	}
	return needs
}

// sources is what the grammar fills in for where secrets come from.
const sources = "sources"

// Keys describes the keys of a role file that this grammar reads.
func (g Grammar) Keys() []key.Key {
	var keys []key.Key
	for _, s := range sections {
		keys = append(keys, s.Key)
	}
	return key.Fill(keys, func(k *key.Kind) {
		switch {
		case k.Filled == directory.Engines:
			k.Words = g.Engines
		case k.Filled == sources && len(g.Sources) > 0:
			k.Doc, k.Pattern = "`"+strings.Join(g.Sources.Forms(), "`, `")+"`", `^(`+strings.Join(g.Sources.Schemes(), "|")+`)://`
		}
	})
}
