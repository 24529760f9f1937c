package awscli

import (
	"os/exec"
	"testing"
)

func TestACommandIsWhatAShellTakesItFor(t *testing.T) {
	for _, test := range []struct {
		region string
		args   []string
		want   string
	}{
		{"eu-west-1", []string{"--volume-id", "vol-1"}, "aws ec2 detach-volume --region eu-west-1 --volume-id vol-1"},
		{"", []string{"--volume-id", "vol-1"}, "aws ec2 detach-volume --volume-id vol-1"},
		{"", []string{"Key=bootagent:volume"}, "aws ec2 detach-volume Key=bootagent:volume"},
		{"", []string{"a b", "$HOME", "it's", "", "a;b"}, `aws ec2 detach-volume 'a b' '$HOME' 'it'\''s' '' 'a;b'`},
	} {
		if got := Command(test.region, "ec2 detach-volume", test.args...); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	const odd = "a 'b' \"c\" $d `e` \\f\n~ * ? [g] {h,i} ! # & | ; < > ( ) ü"
	out, err := exec.Command("sh", "-c", "printf %s "+Quote(odd)).Output()
	if err != nil || string(out) != odd {
		t.Errorf("a shell makes %q of it: %v", out, err)
	}
}
