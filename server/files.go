package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// maxFile is the longest file that a configuration may name, in bytes: 1,000,000 rules have room.
const maxFile = 256 << 20

// files reads the files of one load, each once, so that everything that one Snapshot is built of was read in
// one go; and remembers every path that was asked for, found or not, so that each can be watched.
type files struct {
	folder string // where relative paths start
	seen   *seenFiles
}

type seenFiles struct {
	asked map[string]bool              // by absolute path
	data  map[string][]byte            // by absolute path; nil for one that could not be read
	sums  map[string][sha256.Size]byte // of the data
}

func newFiles() *files {
	return &files{seen: &seenFiles{asked: map[string]bool{}, data: map[string][]byte{}, sums: map[string][sha256.Size]byte{}}}
}

// readAll reads the files of those paths as they are now. One that cannot be read is remembered as such.
func readAll(paths []string) *files {
	f := newFiles()
	for _, path := range paths {
		_, _ = f.read(path)
	}
	return f
}

// again returns a reader of what was read before, for which nothing has been asked yet.
func (f *files) again() *files {
	return &files{seen: &seenFiles{asked: map[string]bool{}, data: f.seen.data, sums: f.seen.sums}}
}

// below returns a reader for the same load whose relative paths start at folder.
func (f *files) below(folder string) *files { return &files{folder: folder, seen: f.seen} }

func (f *files) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(f.folder, path)
}

// read returns the file's content.
func (f *files) read(path string) ([]byte, error) {
	path = f.resolve(path)
	f.seen.asked[path] = true
	if data := f.seen.data[path]; data != nil {
		return data, nil
	}
	f.seen.data[path] = nil
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f.seen.data[path], f.seen.sums[path] = data, sha256.Sum256(data)
	return data, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		var fault *fs.PathError
		if errors.As(err, &fault) {
			return nil, fmt.Errorf("reading %s: %w", path, fault.Err)
		}
		return nil, err
	}
	defer file.Close()
	var content bytes.Buffer
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		content.Grow(int(min(info.Size(), maxFile)) + bytes.MinRead) // or the longest files would be copied as they are read
	}
	if _, err := content.ReadFrom(io.LimitReader(file, maxFile+1)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if content.Len() > maxFile {
		return nil, fmt.Errorf("reading %s: it is longer than %d bytes", path, maxFile)
	}
	if content.Len() == 0 {
		return []byte{}, nil // nil is for a file that could not be read
	}
	return content.Bytes(), nil
}

// digest returns a SHA-256 over all that was asked for, in hexadecimal.
func (f *files) digest() string {
	sum := sha256.New()
	for _, path := range f.paths() {
		data := f.seen.data[path]
		fmt.Fprintf(sum, "%q %t %x\n", path, data != nil, f.seen.sums[path])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// paths returns every path that was asked for, in order.
func (f *files) paths() []string { return slices.Sorted(maps.Keys(f.seen.asked)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
