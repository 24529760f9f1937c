package secret

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bootagent/pkg/policy"
)

// S3Source is the source s3://BUCKET/KEY: an object of S3 that is encrypted with
// age. Its version is the version id or the ETag of the object.
type S3Source struct{ Objects Objects }

// Objects gets objects of S3, as package aws/s3 does.
type Objects interface {
	// Get returns an object and its version, which may be "".
	Get(ctx context.Context, bucket, key string) (content []byte, version string, err error)
}

// Scheme returns "s3".
func (S3Source) Scheme() string { return "s3" }

// Form returns how a role file writes an object.
func (S3Source) Form() string { return "s3://BUCKET/KEY" }

// Sealed returns true.
func (S3Source) Sealed() bool { return true }

// Check refuses a reference without a bucket or an object key. Which names a
// bucket can have S3 says.
func (S3Source) Check(ref string) error {
	if bucket, key, _ := strings.Cut(ref, "/"); bucket == "" || key == "" {
		return fmt.Errorf("s3://%s names no object: write s3://BUCKET/KEY", ref)
	}
	return nil
}

// Permit adds the object.
func (S3Source) Permit(needs *policy.Needs, ref string) { needs.Objects = append(needs.Objects, ref) }

// Fetch gets the object.
func (s S3Source) Fetch(ctx context.Context, ref string) (Payload, error) {
	if s.Objects == nil {
		return Payload{}, errors.New("cannot fetch s3://" + ref + ": this machine does not use AWS")
	}
	bucket, key, _ := strings.Cut(ref, "/")
	ciphertext, version, err := s.Objects.Get(ctx, bucket, key)
	if err != nil {
		return Payload{}, err
	}
	return sealedPayload(ciphertext, version), nil
}
