package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/s3"
	"bootagent/pkg/host"
	"bootagent/pkg/secret"
	"bootagent/pkg/secret/sources"
)

// The keys that people bring.
const (
	goodKey  = "good key"
	wrongKey = "wrong key"
)

// plaintext is what nobody may tell.
const plaintext = "hush-be-quiet-hush"

// identities are the keys, by their names.
var identities = sync.OnceValue(func() map[string]*age.X25519Identity {
	keys := make(map[string]*age.X25519Identity)
	for _, name := range []string{goodKey, wrongKey} {
		k, err := age.GenerateX25519Identity()
		if err != nil {
			panic(err)
		}
		keys[name] = k
	}
	return keys
})

// sealedAs are the secret, by the key that it is sealed for.
var sealedAs = sync.OnceValue(func() map[string][]byte {
	all := make(map[string][]byte)
	for name, key := range identities() {
		var b bytes.Buffer
		if err := secret.Encrypt(&b, strings.NewReader(plaintext), []string{key.Recipient().String()}, false); err != nil {
			panic(err)
		}
		all[name] = b.Bytes()
	}
	return all
})

// sealedSecret is the secret as it has to lie in S3.
func sealedSecret() []byte { return sealedAs()[goodKey] }

// takes takes a key that a person brings.
func (a *agent) takes(key string) {
	a.keys = append(a.keys, key)
	if _, err := a.opener.Add([]byte(identities()[key].String())); err != nil {
		panic(err)
	}
}

// secrets are opened by the code of the program; its S3, its disk and its ramfs
// are the world's.
func (a *agent) secrets() host.Secrets {
	run := func(context.Context, []string) ([]byte, error) { return []byte(identities()[goodKey].String()), nil }
	return secrets{a, &secret.Secrets{
		Keys: &a.opener, Providers: secret.Providers(a.machine.world.keys, run), Sources: sources.All(bucket{a}),
		Cache: kept{a}, Store: ramfs{a}, Log: slog.New(&handler{agent: a}),
	}}
}

type secrets struct {
	*agent
	*secret.Secrets
}

// Unlock asks where keys come from.
func (s secrets) Unlock(ctx context.Context) error {
	err := s.call(ctx, "asks", "for a key", effect{do: func() error { return nil }})
	if err != nil {
		return err
	}
	return s.Secrets.Unlock(ctx)
}

// objectOf is an object as an instance of the world asks for it.
func objectOf(w *World, bucket, key string) s3.Object {
	return s3.Object{Bucket: bucket, Key: key, Caller: diagnose.Caller{Region: region, Role: w.role.Name}}
}

// bucket is S3.
type bucket struct{ *agent }

func (b bucket) Get(ctx context.Context, name, key string) (ciphertext []byte, version string, err error) {
	o := objectOf(b.machine.world, name, key)
	err = b.call(ctx, "fetch", o.String(), effect{
		fails: []error{
			o.Refused(s3.Answer{Status: 503, Code: "SlowDown"}),
			o.Refused(s3.Answer{Status: 403, Code: "AccessDenied", Message: "Access Denied"}),
			o.Refused(s3.Answer{Status: 404, Code: "NoSuchKey"}),
			o.Refused(s3.Answer{Status: 500, Code: "InternalError"}),
			o.Refused(s3.Answer{Status: 400, Code: "ExpiredToken"}),
			fmt.Errorf("cannot fetch %s: cannot reach it: %w", o, errors.New("connection refused")),
		},
		bound: 10 * time.Second,
		do:    func() error { ciphertext = b.machine.world.sealed; return nil },
	})
	if ctx.Err() != nil {
		err = fmt.Errorf("cannot fetch %s: %w", o, context.Cause(ctx))
	}
	return ciphertext, version, err
}

// kept is the machine's own disk.
type kept struct{ *agent }

func (k kept) Put(name, source string, _ *secret.Plaintext) error {
	return k.call(context.Background(), "keep", name+" of "+source+", sealed", effect{do: func() error {
		k.machine.kept.write(true)
		return nil
	}})
}

func (k kept) Get(name, source string) (ciphertext []byte, when time.Time, err error) {
	err = k.call(context.Background(), "asks", "whether "+name+" of "+source+" is kept", effect{do: func() error {
		if !k.machine.kept.now {
			return secret.ErrNotCached
		}
		ciphertext, when = sealedSecret(), k.machine.kept.at
		return nil
	}})
	return ciphertext, when, err
}

// ramfs is where credentials are staged.
type ramfs struct{ *agent }

func (r ramfs) Stage(unit, name string, plaintext []byte, version string) error {
	return r.call(context.Background(), "stage", name+" for "+unit, effect{do: func() error {
		r.machine.staged[name] = string(plaintext)
		r.machine.versions[name] = version
		r.machine.world.count(r.machine.id, "stage")
		return nil
	}})
}

func (r ramfs) Staged(unit, name string) (version string, err error) {
	err = r.call(context.Background(), "asks", "whether "+name+" is staged for "+unit, effect{do: func() error {
		version = r.machine.versions[name]
		return nil
	}})
	return version, err
}
