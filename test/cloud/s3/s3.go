// Package s3 is the fake cloud's S3, with path-style addresses.
package s3

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/service"
)

// S3 is S3 in one region. As an http.Handler it answers requests; its methods are for tests, and need no
// permission. gofakes3 stores the objects; S3 itself adds signatures, permissions, regions and faults.
type S3 struct {
	service.Faults
	env     *service.Env
	iam     *iam.IAM
	backend *s3mem.Backend
	server  http.Handler

	mu        sync.Mutex
	elsewhere map[string]string // the regions of buckets that are in another region
	kept      map[string]string // by bucket/key, how an object is stored: archived or customerKey
}

// New returns an S3 without buckets.
func New(env *service.Env, permissions *iam.IAM) *S3 {
	backend := s3mem.New()
	return &S3{
		env:     env,
		iam:     permissions,
		backend: backend,
		server:  gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server(), // IAM checks the time

		elsewhere: map[string]string{},
		kept:      map[string]string{},
	}
}

// Put writes an object, and creates its bucket if necessary.
func (s *S3) Put(bucket, key string, data []byte) error {
	if err := s.makeBucket(bucket); err != nil {
		return err
	}
	_, err := s.backend.PutObject(bucket, key, map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}, bytes.NewReader(data), int64(len(data)), nil)
	return err
}

// KeepVersions turns on versioning of a bucket, and creates the bucket if necessary.
func (s *S3) KeepVersions(bucket string) error {
	if err := s.makeBucket(bucket); err != nil {
		return err
	}
	return s.backend.SetVersioningConfiguration(bucket, gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled})
}

func (s *S3) makeBucket(name string) error {
	if exists, err := s.backend.BucketExists(name); exists || err != nil {
		return err
	}
	return s.backend.CreateBucket(name)
}

// SetRegion moves a bucket to another region than the cloud's.
func (s *S3) SetRegion(bucket, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.elsewhere[bucket] = region
}

// How an object can be stored so that S3 does not return it.
const (
	archived    = "GLACIER"
	customerKey = "SSE-C"
)

// Archive archives an object: it has to be restored before it can be read.
func (s *S3) Archive(bucket, key string) { s.keep(bucket, key, archived) }

// KeepWithCustomerKey encrypts an object with a key that each request has to bring (SSE-C).
func (s *S3) KeepWithCustomerKey(bucket, key string) { s.keep(bucket, key, customerKey) }

func (s *S3) keep(bucket, key, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[bucket+"/"+key] = how
}

// Delete deletes an object.
func (s *S3) Delete(bucket, key string) error {
	_, err := s.backend.DeleteObject(bucket, key)
	return err
}
