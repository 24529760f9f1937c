package account

import (
	"errors"
	"os/user"
	"testing"
)

func TestTheNumbersOfAccountsAreThoseOfTheMachine(t *testing.T) {
	if got, err := ByName("root"); err != nil || got != (User{Home: "/root"}) {
		t.Errorf("root is %+v, %v", got, err)
	}
	for name := range map[string]bool{"nobody": true, "daemon": true} {
		want, err := user.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ByName(name)
		if uid, _ := number(want.Uid); err != nil || got.UID != uid || got.UID == 0 || got.Home != want.HomeDir {
			t.Errorf("%s is %+v, %v, and the machine says %+v", name, got, err, want)
		}
		group, err := user.LookupGroupId(want.Gid)
		if err != nil {
			t.Fatal(err)
		}
		if gid, err := Group(group.Name); err != nil || gid != got.GID {
			t.Errorf("group %s is %d, %v, and that of %s is %d", group.Name, gid, err, name, got.GID)
		}
	}
}

func TestAnUnknownAccountIsAnError(t *testing.T) {
	if got, err := ByName("no-such-user"); !errors.As(err, new(user.UnknownUserError)) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := Group("no-such-group"); !errors.As(err, new(user.UnknownGroupError)) {
		t.Errorf("got %d, %v", got, err)
	}
	if got, err := number("-1"); err == nil {
		t.Errorf("-1 is %d", got)
	}
}
