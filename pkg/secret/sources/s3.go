package sources

import (
	"context"
	"errors"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/policy"
	"bootagent/pkg/role/source"
)

// S3 is the source s3://BUCKET/KEY: an object of S3 that is encrypted with
// age. Its version is the version id or the ETag of the object.
type S3 struct{ Objects Objects }

// Objects gets objects of S3, as package aws/s3 does.
type Objects interface {
	// Get returns an object and its version, which may be "".
	Get(ctx context.Context, bucket, key string) (content []byte, version string, err error)
}

// Syntax returns how a role file writes an object.
func (S3) Syntax() source.Syntax { return s3Syntax }

// Encrypted returns true.
func (S3) Encrypted() bool { return true }

// Fetch gets the object.
func (s S3) Fetch(ctx context.Context, ref string) (host.Payload, error) {
	if s.Objects == nil {
		return host.Payload{}, errors.New("cannot fetch s3://" + ref + ": this machine does not use AWS")
	}
	bucket, key, _ := strings.Cut(ref, "/")
	ciphertext, version, err := s.Objects.Get(ctx, bucket, key)
	if err != nil {
		return host.Payload{}, err
	}
	return EncryptedPayload(ciphertext, version), nil
}

// s3Syntax is how a role file writes an object of Amazon S3. User-data selects the object, never the bucket.
var s3Syntax = source.Syntax{
	Scheme: "s3", Form: "s3://BUCKET/KEY", Cloud: true,
	Fixed: func(ref string) string {
		bucket, _, _ := strings.Cut(ref, "/")
		return bucket
	},
	Check: func(ref string) error {
		bucket, key, _ := strings.Cut(ref, "/")
		if err := name.CheckBucket(bucket); err != nil {
			return part("bucket", err)
		}
		return part("key", name.CheckObjectKey(key))
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
