package blankproof

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/block"
)

// newImage makes a sparse file.
func newImage(t testing.TB, size block.Bytes) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	return path
}

// put writes bytes into an image.
func put(t testing.TB, path string, at block.Offset, b string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(b), int64(at)); err != nil {
		t.Fatal(err)
	}
}

// fingerprint returns a hash of every byte of an image and of its size. To be quick,
// it skips holes, and pages of zeros count as holes.
func fingerprint(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	binary.Write(sum, binary.LittleEndian, size)
	buf := make([]byte, page)
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // holes to the end
		}
		if err != nil {
			t.Fatal(err)
		}
		at = data &^ (page - 1)
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		for ; at < hole; at += page {
			n, err := f.ReadAt(buf, at)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if firstNonzero(buf[:n]) >= 0 {
				binary.Write(sum, binary.LittleEndian, at)
				sum.Write(buf[:n])
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// prove proves an image, and fails the test if that changed a byte of it.
func prove(t testing.TB, path string) Report {
	t.Helper()
	before := fingerprint(t, path)
	r, err := Host().Prove(t.Context(), path, Task{})
	if err != nil {
		t.Fatal(err)
	}
	if fingerprint(t, path) != before {
		t.Fatal("the proof changed the disk")
	}
	return r
}
