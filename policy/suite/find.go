package suite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
)

// Suffix is what the names of suites end in.
const Suffix = "_test.yaml"

// Find returns the suites at and below a folder, in lexical order, and a file of [Suffix] as itself. Folders whose names
// begin with a dot and links to folders are passed over. It is an error when there is none.
func Find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, reading(path, err)
	}
	if !info.IsDir() {
		if !strings.HasSuffix(path, Suffix) || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no suite; the names of suites end in %s", path, Suffix)
		}
		return []string{filepath.Clean(path)}, nil
	}
	var found []string
	// With a slash behind it, a link to a folder is that folder.
	err = filepath.WalkDir(path+string(filepath.Separator), func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return reading(file, err)
		case entry.IsDir() && filepath.Clean(file) != filepath.Clean(path) && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(file, Suffix):
			return nil
		}
		info, err := os.Stat(file) // of what a link links to
		if err != nil {
			return reading(file, err)
		}
		if info.Mode().IsRegular() {
			found = append(found, filepath.Clean(file))
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("looking for suites: no file at or below %s ends in %s", path, Suffix)
	}
	return found, err
}

// Load reads the suite in that file.
func Load(path string) (*Suite, policy.Findings) {
	data, err := read(path)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	return Parse(path, data)
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, reading(path, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, reading(path, err)
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("reading %s: it is longer than %d bytes", path, maxBytes)
	}
	return data, nil
}

func reading(path string, err error) error {
	var fault *fs.PathError
	if errors.As(err, &fault) {
		err = fault.Err
	}
	return fmt.Errorf("reading %s: %w", path, err)
}
