package wildcard

import "testing"

func TestWildcards(t *testing.T) {
	for _, test := range []struct {
		pattern, s     string
		policy, filter bool
	}{
		{"", "", true, true},
		{"orders", "orders", true, true},
		{"orders", "Orders", false, false},
		{"*", "", true, true},
		{"ord*", "orders", true, true},
		{"*d*s", "orders", true, true},
		{"*d*x", "orders", false, false},
		{"order?", "orders", true, true},
		{"order?", "order", false, false},
		{"orders?", "orders", false, false},
		{`\*`, "*", false, true},
		{`\*`, `\anything`, true, false},
		{`\*amazon\?\\`, `*amazon?\`, false, true},
		{`\*amazon\?\\`, `xamazon?\`, false, false},
		{`é?`, "éà", true, true},
	} {
		if got := Match(test.pattern, test.s); got != test.policy {
			t.Errorf("Match(%q, %q) = %v", test.pattern, test.s, got)
		}
		if got := ParseFilter(test.pattern).Match(test.s); got != test.filter {
			t.Errorf("ParseFilter(%q).Match(%q) = %v", test.pattern, test.s, got)
		}
	}
}
