package server

import (
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
	data map[string][]byte // by absolute path; nil for one that could not be read
}

func newFiles() *files {
	return &files{seen: &seenFiles{data: map[string][]byte{}}}
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
	if data := f.seen.data[path]; data != nil {
		return data, nil
	}
	f.seen.data[path] = nil
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f.seen.data[path] = data
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
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("reading %s: it is longer than %d bytes", path, maxFile)
	}
	return data, nil // not nil, also for an empty file
}

// digest returns a SHA-256 over all that was asked for, in hexadecimal.
func (f *files) digest() string {
	sum := sha256.New()
	for _, path := range f.paths() {
		data := f.seen.data[path]
		fmt.Fprintf(sum, "%q %t %d\n", path, data != nil, len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// digestOf reads the files of those paths as they are now.
func digestOf(paths []string) string {
	f := newFiles()
	for _, path := range paths {
		_, _ = f.read(path) // one that cannot be read is part of the digest
	}
	return f.digest()
}

// paths returns every path that was asked for, in order.
func (f *files) paths() []string { return slices.Sorted(maps.Keys(f.seen.data)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
