package shelf_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/shelf"
)

func TestReadAndWrite(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	s := shelf.New(folder, 10, 100, time.Hour)
	if _, err := s.Read("one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is %v", err)
	}
	for _, text := range []string{"first", "", strings.Repeat("x", 100)} {
		if err := s.Write("one", []byte(text), time.Now()); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Read("one"); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := s.Write("one", make([]byte, 101), time.Now()); err == nil {
		t.Error("a longer text is written")
	}
	if got, err := s.Read("one"); err != nil || len(got) != 100 {
		t.Errorf("after it: %d bytes, %v", len(got), err)
	}
	for path, mode := range map[string]fs.FileMode{folder: 0o700, filepath.Join(folder, "one.json"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// However many are written, there are not more than that, nothing is left beside them, and what is old makes room.
func TestBounds(t *testing.T) {
	folder := t.TempDir()
	s := shelf.New(folder, 5, 100, time.Hour)
	stranger, left := filepath.Join(folder, "notes.txt"), filepath.Join(folder, ".kasbah-left")
	for _, path := range []string{stranger, left} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	var written int
	for i := range 8 {
		if s.Write(fmt.Sprint("name-", i), []byte("x"), time.Now()) == nil {
			written++
		}
	}
	if written != 5 {
		t.Errorf("%d were written", written)
	}
	if err := s.Write("name-0", []byte("y"), time.Now()); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	if err := s.Write("another", []byte("z"), time.Now().Add(2*time.Hour)); err != nil {
		t.Errorf("when the others are old: %v", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 2 {
		t.Errorf("there is %v, %v", entries, err)
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Errorf("a file of somebody else: %v", err)
	}
}

// A reader sees one whole text or another, whatever is being written.
func TestWritesAreWhole(t *testing.T) {
	s := shelf.New(t.TempDir(), 10, 1<<20, time.Hour)
	if err := s.Write("one", []byte(strings.Repeat("a", 1<<16)), time.Now()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, letter := range "bcd" {
		group.Go(func() {
			for range 20 {
				if err := s.Write("one", []byte(strings.Repeat(string(letter), 1<<16)), time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 100 {
		text, err := s.Read("one")
		if err != nil || len(text) != 1<<16 || strings.Count(string(text), string(text[0])) != 1<<16 {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
	}
	group.Wait()
}
