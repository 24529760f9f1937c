// Package grammar joins what role files may name: the database engines and the
// sources of secrets that the agent knows.
package grammar

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/policy"
	"bootagent/pkg/role"
	"bootagent/pkg/role/source"
	"bootagent/pkg/syntax"
)

// All returns the grammar of the role files that the agent reads.
func All() role.Grammar {
	return role.Grammar{
		Engines: []string{"mariadb"},
		Sources: source.Syntaxes{s3, file},
	}
}

// s3 is an object of Amazon S3. User-data selects the object, never the bucket.
var s3 = source.Syntax{
	Scheme: "s3", Form: "s3://BUCKET/KEY", Cloud: true,
	Fixed: func(ref string) string {
		bucket, _, _ := strings.Cut(ref, "/")
		return bucket
	},
	Check: func(ref string) error {
		bucket, key, _ := strings.Cut(ref, "/")
		if err := name.CheckBucket(bucket); err != nil {
			return problem("bucket", err)
		}
		return problem("key", name.CheckObjectKey(key))
	},
	Near: func(text string) string {
		if ref, is := strings.CutPrefix(text, "arn:aws:s3:::"); is {
			return "s3://" + ref
		}
		host, key, _ := strings.Cut(strings.TrimPrefix(text, "https://"), "/")
		bucket, service, is := strings.Cut(host, ".s3")
		if !is || !strings.HasPrefix(text, "https://") || !strings.HasSuffix(service, ".amazonaws.com") {
			return ""
		}
		return "s3://" + bucket + "/" + key
	},
	Permit: func(needs *policy.Needs, ref string) { needs.Objects = append(needs.Objects, ref) },
}

// file is a file of the image.
var file = source.Syntax{
	Scheme: "file", Form: "file:///PATH",
	Fixed: func(ref string) string { return ref },
	Check: func(ref string) error {
		if !path.IsAbs(ref) || ref == "/" {
			return errors.New("not the path of a file: write three slashes, as in file:///etc/bootagent/sql.age")
		}
		return problem("file", syntax.CheckPath(ref))
	},
	Near: func(text string) string {
		if path.IsAbs(text) {
			return "file://" + text
		}
		return ""
	},
	File: func(ref string) string { return ref },
}

func problem(part string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}
