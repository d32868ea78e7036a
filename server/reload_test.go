package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const withoutAlice = "p, reader, /orders/:id, GET\ng, bob, reader\n"

// TestChangesAreSeen changes a file in each of the ways in which files change, and waits for the verdict.
func TestChangesAreSeen(t *testing.T) {
	for name, change := range map[string]func(f *fixture, name, text string){
		"in place": func(f *fixture, name, text string) { f.write(name, text) },
		"by an atomic rename": func(f *fixture, name, text string) {
			f.write("."+name+".new", text)
			if err := os.Rename(filepath.Join(f.folder, "."+name+".new"), filepath.Join(f.folder, name)); err != nil {
				f.t.Fatal(err)
			}
		},
		"removed and written again": func(f *fixture, name, text string) {
			if err := os.Remove(filepath.Join(f.folder, name)); err != nil {
				f.t.Fatal(err)
			}
			f.write(name, text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			conn, check := f.dial(), get("/orders/7", f.token("alice"))
			if got := status(ask(t, conn, check)); got != 200 {
				t.Fatalf("alice gets %d", got)
			}
			began := time.Now()
			change(f, "policy.csv", withoutAlice)
			await(t, "the policy", func() bool { return status(ask(t, conn, check)) == 403 })
			t.Logf("a policy changed %s was in force after %s", name, time.Since(began).Round(time.Millisecond))
			change(f, "model.conf", strings.Replace(modelText, "g(r.sub, p.sub)", "r.sub != p.sub", 1))
			await(t, "the model", func() bool { return status(ask(t, conn, check)) == 200 })
			change(f, "kasbah.yaml", strings.Replace(configText, "path: /orders/", "path: /elsewhere/", 1))
			await(t, "the configuration", func() bool { return status(ask(t, conn, check)) == 403 })
			change(f, "kasbah.yaml", configText)
			await(t, "the former configuration", func() bool { return status(ask(t, conn, check)) == 200 })
			other, err := keystest.New("http://issuer:9193")
			if err != nil {
				t.Fatal(err)
			}
			change(f, "jwks.json", string(other.JWKS()))
			await(t, "the keys", func() bool { return status(ask(t, conn, check)) == 401 })
		})
	}
}

// TestConfigMapSwap is how Kubernetes changes a mounted ConfigMap: the link ..data turns to another folder.
func TestConfigMapSwap(t *testing.T) {
	f := newFixture(t)
	folder := func(name, policy string) {
		if err := os.Mkdir(filepath.Join(f.folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range f.files(map[string]string{"policy.csv": policy}) {
			f.write(filepath.Join(name, file), text)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(f.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	folder("..2026_1", policyText)
	link("..2026_1", "..data")
	for file := range f.files(nil) {
		link(filepath.Join("..data", file), file)
	}
	f.run(f.config())
	conn, check := f.dial(), get("/orders/7", f.token("alice"))
	if got := status(ask(t, conn, check)); got != 200 {
		t.Fatalf("alice gets %d", got)
	}
	for i, want := range []int{403, 200, 403} {
		next := fmt.Sprintf("..2026_%d", i+2)
		folder(next, map[int]string{403: withoutAlice, 200: policyText}[want])
		link(next, "..data_tmp")
		if err := os.Rename(filepath.Join(f.folder, "..data_tmp"), filepath.Join(f.folder, "..data")); err != nil {
			t.Fatal(err)
		}
		await(t, next, func() bool { return status(ask(t, conn, check)) == want })
		if err := os.RemoveAll(filepath.Join(f.folder, fmt.Sprintf("..2026_%d", i+1))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReloadOnRequest is SIGHUP: it is taken, and finds nothing new.
func TestReloadOnRequest(t *testing.T) {
	f := start(t, nil)
	f.reload <- struct{}{}
	await(t, "the reload", func() bool { return f.metric(`kasbah_config_reloads_total{result="unchanged"}`) == "1" })
	if got := f.server.Generation(); got != 1 {
		t.Errorf("generation %d after nothing changed", got)
	}
}

// TestBrokenFilesChangeNothing breaks each file in each way; the old Snapshot stays, and says so.
func TestBrokenFilesChangeNothing(t *testing.T) {
	f := start(t, nil)
	conn, check, denied := f.dial(), get("/orders/7", f.token("alice")), get("/orders/7", f.token("mallory"))
	good := f.files(nil)
	for name, text := range map[string]string{
		"policy.csv: cut":             "p, reader, /orders/:id",
		"policy.csv: unknown effect":  "p, reader, /orders/:id, GET, denny\n",
		"policy.csv: a quote":         "p, reader, \"/orders/:id, GET\n",
		"policy.csv: unknown type":    "q, reader, /orders/:id, GET\n",
		"model.conf: empty":           "",
		"model.conf: cut":             modelText[:len(modelText)/2],
		"model.conf: unknown field":   strings.Replace(modelText, "r.act ==", "r.acts ==", 1),
		"jwks.json: empty object":     "{}",
		"jwks.json: cut":              good["jwks.json"][:40],
		"jwks.json: HTML":             "<html>",
		"kasbah.yaml: empty":          "",
		"kasbah.yaml: cut":            configText[:len(configText)-30],
		"kasbah.yaml: unknown field":  configText + "  publik: true\n",
		"kasbah.yaml: two of a name":  configText + configText[strings.Index(configText, "- name: health"):],
		"kasbah.yaml: not YAML":       "{{{",
		"kasbah.yaml: bad expression": strings.Replace(configText, "principal.id", "principal.idd", 1),
		"kasbah.yaml: missing file":   strings.Replace(configText, "policy.csv", "nowhere.csv", 1),
	} {
		file, _, _ := strings.Cut(name, ":")
		refused := f.server.Refused()
		generation := f.server.Generation()
		f.write(file, text)
		await(t, name, func() bool { return f.server.Refused() > refused })
		if a, d := status(ask(t, conn, check)), status(ask(t, conn, denied)); a != 200 || d != 403 || f.server.Generation() != generation {
			t.Errorf("%s: alice gets %d, mallory %d, generation %d after %d", name, a, d, f.server.Generation(), generation)
		}
		if got := f.metric("kasbah_config_last_reload_ok"); got != "0" {
			t.Errorf("%s: kasbah_config_last_reload_ok is %q", name, got)
		}
		f.write(file, good[file])
		await(t, name+", repaired", func() bool { return f.metric("kasbah_config_last_reload_ok") == "1" })
	}
	for _, want := range []string{filepath.Join(f.folder, "policy.csv") + ":1:", filepath.Join(f.folder, "kasbah.yaml") + ":"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log does not name %s", want)
		}
	}
}

// TestFilesThatGoAway: a file that is gone, is a folder, or is a link to nowhere.
func TestFilesThatGoAway(t *testing.T) {
	f := start(t, nil)
	conn, check := f.dial(), get("/orders/7", f.token("alice"))
	path := filepath.Join(f.folder, "policy.csv")
	for name, replace := range map[string]func() error{
		"gone":              func() error { return nil },
		"a folder":          func() error { return os.Mkdir(path, 0o700) },
		"a link to nowhere": func() error { return os.Symlink("nowhere", path) },
		"a link to itself":  func() error { return os.Symlink("policy.csv", path) },
	} {
		refused := f.server.Refused()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		await(t, name, func() bool { return f.server.Refused() > refused })
		if got := status(ask(t, conn, check)); got != 200 {
			t.Errorf("%s: alice gets %d", name, got)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		f.write("policy.csv", policyText)
		await(t, name+", repaired", func() bool { return f.metric("kasbah_config_last_reload_ok") == "1" })
	}
}

// TestManyEvents: of a thousand changes the last one wins.
func TestManyEvents(t *testing.T) {
	f := start(t, nil)
	conn, check := f.dial(), get("/orders/7", f.token("zoe"))
	for i := range 1000 {
		f.write("policy.csv", fmt.Sprintf("%sg, user%d, reader\n", policyText, i))
	}
	f.write("policy.csv", policyText+"g, zoe, reader\n")
	await(t, "the last change", func() bool { return status(ask(t, conn, check)) == 200 })
}

// TestDecisionsDuringReloads: while the policy changes and breaks, alice is never denied and mallory never allowed,
// and no check fails.
func TestDecisionsDuringReloads(t *testing.T) {
	f := start(t, map[string]string{"kasbah.yaml": strings.Replace(configText, "decisions: all", "decisions: none", 1)})
	var asked, wrong atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		conn, alice, mallory := f.dial(), get("/orders/7", f.token("alice")), get("/orders/7", f.token("mallory"))
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status(ask(t, conn, alice)) != 200 || status(ask(t, conn, mallory)) != 403 {
					wrong.Add(1)
				}
				asked.Add(2)
			}
		})
	}
	for i := range 20 {
		generation, refused := f.server.Generation(), f.server.Refused()
		if i%4 == 3 {
			f.write("policy.csv", policyText+"p, reader\n")
			await(t, "a refusal", func() bool { return f.server.Refused() > refused })
			continue
		}
		f.write("policy.csv", fmt.Sprintf("%sg, user%d, reader\n", policyText, i))
		await(t, "a reload", func() bool { return f.server.Generation() > generation })
	}
	close(stop)
	clients.Wait()
	t.Logf("%d checks during %d reloads and %d refusals, %d wrong", asked.Load(), f.server.Generation(), f.server.Refused(), wrong.Load())
	if wrong.Load() != 0 || asked.Load() == 0 {
		t.Errorf("%d of %d verdicts were wrong", wrong.Load(), asked.Load())
	}
}
