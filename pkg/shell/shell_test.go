package shell

import (
	"os/exec"
	"testing"
)

// A shell reads what Quote writes as the word that it was.
func TestQuote(t *testing.T) {
	const odd = "a 'b' \"c\" $d `e` \\f\n~ * ? [g] {h,i} ! # & | ; < > ( ) ü"
	for _, word := range []string{"mariadb.service", "/srv/a b", `srv-my\x2ddata.service`, "it's", "", "a;b", "$HOME", "ü", "a*b", "--x=1", odd} {
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %q: %v", word, out, err)
		}
	}
	if got := Join([]string{"mariadb.service", `a\x2d.service`}); got != `mariadb.service 'a\x2d.service'` {
		t.Errorf("got %s", got)
	}
}
