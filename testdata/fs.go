// Package testdata is the files that tests of several packages share: configurations good and bad, and
// whole example systems. They are embedded, so that a test finds them wherever it is run.
package testdata

import (
	"embed"
	"io/fs"
)

//go:embed configs demo
var files embed.FS

// T is what the helpers need of a [testing.TB]. The demo, which is no test, imports this package too.
type T interface {
	Helper()
	Fatalf(format string, arguments ...any)
}

// Files returns the shared files, by their paths below this folder.
func Files() fs.FS { return files }

// Read returns one file, and fails the test if it is not there.
func Read(t T, name string) []byte {
	t.Helper()
	data, err := files.ReadFile(name)
	if err != nil {
		t.Fatalf("reading testdata: %v", err)
	}
	return data
}

// Each calls visit with every file that the pattern of [path.Match] names. It fails the test if there is none, so that
// no test passes because its data are gone.
func Each(t T, pattern string, visit func(name string, data []byte)) {
	t.Helper()
	names, err := fs.Glob(files, pattern)
	if err != nil {
		t.Fatalf("reading testdata: %v", err)
	}
	if len(names) == 0 {
		t.Fatalf("no file of testdata matches %q", pattern)
	}
	for _, name := range names {
		visit(name, Read(t, name))
	}
}

// Demo returns one file of the demo's configuration.
func Demo(name string) ([]byte, error) { return files.ReadFile("demo/" + name) }
