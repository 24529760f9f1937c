// Package account finds the numbers of users and groups among the accounts of the
// machine.
package account

import (
	"fmt"
	"os/user"
	"strconv"
)

// A User is a user of the machine.
type User struct {
	UID, GID uint32 // GID is the user's own group
	Home     string // home directory
}

// ByName returns a user. The error is a user.UnknownUserError if there is none.
func ByName(name string) (User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return User{}, err
	}
	uid, err := number(u.Uid)
	if err != nil {
		return User{}, err
	}
	gid, err := number(u.Gid)
	return User{UID: uid, GID: gid, Home: u.HomeDir}, err
}

// Group returns the number of a group. The error is a user.UnknownGroupError if
// there is none.
func Group(name string) (gid uint32, err error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return number(g.Gid)
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the number of an account is no number: %w", err)
	}
	return uint32(n), nil
}
