package cli

import "testing"

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
}
