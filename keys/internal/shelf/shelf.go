// Package shelf keeps small files in a folder of its own: a bounded number of bounded files, each replaced as a whole, so that
// whoever reads one finds what was last written or nothing.
//
// It knows nothing of what is in them. Its reader must expect anything, for somebody else may have written it.
package shelf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	suffix    = ".json"
	temporary = ".kasbah-"
)

// Shelf is a folder of files. It is safe for use by many goroutines at once.
type Shelf struct {
	folder   string
	maxFiles int
	maxBytes int
	maxAge   time.Duration

	mu sync.Mutex // while it is counted what is there
}

// New returns the shelf in that folder, which is made when something is first written. It holds maxFiles files at most, of
// maxBytes each; one that was written longer than maxAge ago makes room for another. It reads nothing.
func New(folder string, maxFiles, maxBytes int, maxAge time.Duration) *Shelf {
	return &Shelf{folder: folder, maxFiles: maxFiles, maxBytes: maxBytes, maxAge: maxAge}
}

func (s *Shelf) path(name string) string { return filepath.Join(s.folder, name+suffix) }

// Read returns what was last written under that name, fs.ErrNotExist for nothing. What is no file, is longer than any that was
// written, or can be written by everyone, is an error.
func (s *Shelf) Read(name string) ([]byte, error) {
	info, err := os.Stat(s.path(name)) // before it is opened: opening a pipe would wait for its other end
	switch {
	case err != nil:
		return nil, reason(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no file")
	case info.Mode().Perm()&0o002 != 0:
		return nil, errors.New("everyone may write it")
	}
	file, err := os.Open(s.path(name))
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, int64(s.maxBytes)+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(data) > s.maxBytes {
		return nil, fmt.Errorf("it is longer than %d bytes", s.maxBytes)
	}
	return data, nil
}

// Write puts data in place of what was written under that name. Only its owner may read and write it. After an error what was
// there before still is.
func (s *Shelf) Write(name string, data []byte, now time.Time) error {
	if len(data) > s.maxBytes {
		return fmt.Errorf("it is longer than %d bytes", s.maxBytes)
	}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return reason(err)
	}
	if err := s.makeRoom(name, now); err != nil {
		return err
	}
	file, err := os.CreateTemp(s.folder, temporary+"*") // mode 0600
	if err != nil {
		return reason(err)
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, bytes.NewReader(data))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return reason(err)
	}
	return reason(os.Rename(file.Name(), s.path(name)))
}

// makeRoom makes sure that one more file under that name is not one too many. Only what this package has written is removed.
func (s *Shelf) makeRoom(name string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Lstat(s.path(name)); err == nil {
		return nil
	}
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		return reason(err)
	}
	files := 0
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), suffix) && !strings.HasPrefix(entry.Name(), temporary) {
			continue
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > s.maxAge && os.Remove(filepath.Join(s.folder, entry.Name())) == nil {
			continue
		}
		files++
	}
	if files >= s.maxFiles {
		return fmt.Errorf("there are %d files already", files)
	}
	return nil
}

// reason returns an error without the path in it, which is the caller's to name.
func reason(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
