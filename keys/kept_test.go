package keys_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// restart ends the world's store and gives it a new one, which has nothing of the one before but its folder.
func (w *world) restart(options keys.KeySetOptions) {
	w.t.Helper()
	if w.stop != nil {
		w.stop()
	}
	w.log.Reset()
	w.store = newStore(w.t, keys.Options{
		Client: &http.Client{Transport: w.network}, Now: time.Now, Logger: slog.New(slog.NewJSONHandler(w.log, nil)), KeySets: options,
	})
	w.auth = keys.NewAuthenticator([]*keys.Provider{compile(w.t, w.store, remoteConfig("corp", keysURL))})
}

func (w *world) unavailable(token string) bool {
	w.t.Helper()
	_, err := evaluate(w.t, w.auth, withToken(token))
	var stage *policy.StageError
	return errors.As(err, &stage) && stage.Reason == policy.Unavailable
}

// kept returns the one file of a folder.
func kept(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the folder has %q, %v", files, err)
	}
	return files[0]
}

// fill has a folder with the key set of the world's issuer, fetched now.
func (w *world) fill() (folder, file string) {
	w.t.Helper()
	folder = filepath.Join(w.t.TempDir(), "state")
	w.restart(keys.KeySetOptions{Folder: folder})
	w.run()
	return folder, kept(w.t, folder)
}

func TestKeptKeysServeWhileTheIssuerIsDown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		folder, file := w.fill()
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file is %v, %v", info.Mode(), err)
		}
		token, fetched := w.issuer.Token(keystest.Claims{Lifetime: 23 * time.Hour}), w.status().Fetched
		w.network.serve(nil)
		time.Sleep(time.Hour)
		w.restart(keys.KeySetOptions{Folder: folder})
		if got := w.reason(token); got != policy.NoReason {
			t.Errorf("before the first fetch: %v", got)
		}
		if status := w.status(); status.Keys != 3 || !status.Kept || status.Attempted || status.Expired {
			t.Errorf("before the first fetch: %+v", status)
		}
		w.run()
		time.Sleep(time.Minute)
		if got := w.reason(token); got != policy.NoReason {
			t.Errorf("after some fetches that failed: %v", got)
		}
		if status := w.status(); !status.Kept || status.Err == nil || status.Fetched.Sub(fetched).Abs() > 61*time.Minute {
			t.Errorf("after some fetches that failed: %+v", status)
		}
		w.network.serve(w.issuer)
		w.issuer.Rotate()
		w.issuer.Rotate()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := w.reason(token); got != policy.UnknownKey {
			t.Errorf("a key that the issuer has removed since: %v", got)
		}
		if status := w.status(); status.Kept || status.Err != nil {
			t.Errorf("after a fetch: %+v", status)
		}
	})
}

// However often nothing comes, a set counts for max_age since it was last fetched, in memory and kept.
func TestKeysEndAtMaxAge(t *testing.T) {
	for name, afterRestart := range map[string]bool{"in memory": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				folder, _ := w.fill()
				begun := w.status().Fetched
				token := w.issuer.Token(keystest.Claims{Lifetime: 23 * time.Hour})
				if got := w.reason(token); got != policy.NoReason {
					t.Fatal(got)
				}
				w.network.serve(answer(500, ""))
				if afterRestart {
					time.Sleep(2 * time.Hour)
					w.restart(keys.KeySetOptions{Folder: folder, MaxAge: 3 * time.Hour})
					w.run()
					time.Sleep(time.Until(begun.Add(3*time.Hour - time.Millisecond)))
				} else {
					token = w.issuer.Token(keystest.Claims{Lifetime: 24 * time.Hour})
					time.Sleep(time.Until(begun.Add(24*time.Hour - 10*time.Millisecond)))
				}
				if got := w.reason(token); got != policy.NoReason {
					t.Errorf("just before: %v, %+v", got, w.status())
				}
				time.Sleep(10 * time.Millisecond)
				if !w.unavailable(token) {
					t.Error("a token whose keys are too old is judged")
				}
				if status := w.status(); status.Keys != 0 || !status.Expired {
					t.Errorf("after it: %+v", status)
				}
				w.network.serve(w.issuer)
				time.Sleep(31 * time.Second)
				synctest.Wait()
				if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
					t.Errorf("the issuer is back: %v", got)
				}
				if status := w.status(); status.Keys != 3 || status.Expired || status.Kept {
					t.Errorf("the issuer is back: %+v", status)
				}
			})
		})
	}
}

// A set that is too old is asked for by the request that needs it, as one that was never fetched.
func TestRequestBringsOldKeysBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.restart(keys.KeySetOptions{MaxAge: 2 * time.Hour})
		w.run()
		w.network.serve(nil)
		time.Sleep(2 * time.Hour)
		for count := w.fetches(); w.fetches() == count; synctest.Wait() {
			time.Sleep(100 * time.Millisecond)
		}
		w.network.serve(w.issuer)
		time.Sleep(6 * time.Second) // the next attempt is due 15 s after the last at the earliest
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
	})
}

func TestKeptFilesThatAreNotUsed(t *testing.T) {
	change := func(change func(map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			t.Helper()
			text, err := os.ReadFile(file)
			var object map[string]any
			if err != nil || json.Unmarshal(text, &object) != nil {
				t.Fatalf("%q, %v", text, err)
			}
			change(object)
			if text, err = json.Marshal(object); err != nil {
				t.Fatal(err)
			}
			rewrite(t, file, string(text))
		}
	}
	put := func(text string) func(*testing.T, string) {
		return func(t *testing.T, file string) { t.Helper(); rewrite(t, file, text) }
	}
	for name, spoil := range map[string]func(*testing.T, string){
		"empty":             put(""),
		"no JSON":           put("\x00\xff"),
		"an array":          put("[]"),
		"a key set":         put(`{"keys":[]}`),
		"too long":          put(strings.Repeat(" ", 3<<20)),
		"deep":              put(strings.Repeat(`{"a":`, 100000)),
		"another version":   change(func(o map[string]any) { o["version"] = 2 }),
		"another source":    change(func(o map[string]any) { o["id"] = strings.Repeat("0", 64) }),
		"no source":         change(func(o map[string]any) { delete(o, "id") }),
		"no time":           change(func(o map[string]any) { delete(o, "fetched") }),
		"no such time":      change(func(o map[string]any) { o["fetched"] = "yesterday" }),
		"a later time":      change(func(o map[string]any) { o["fetched"] = "2999-01-01T00:00:00Z" }),
		"long ago":          change(func(o map[string]any) { o["fetched"] = "1999-01-01T00:00:00Z" }),
		"no keys":           change(func(o map[string]any) { o["key_set"] = `{"keys":[]}` }),
		"keys of no use":    change(func(o map[string]any) { o["key_set"] = `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}` }),
		"keys in an object": change(func(o map[string]any) { o["key_set"] = map[string]any{"keys": []any{}} }),
		"cut": func(t *testing.T, file string) {
			t.Helper()
			if err := os.Truncate(file, 500); err != nil {
				t.Fatal(err)
			}
		},
		"for everyone to write": func(t *testing.T, file string) {
			t.Helper()
			if err := os.Chmod(file, 0o666); err != nil {
				t.Fatal(err)
			}
		},
		"a folder": func(t *testing.T, file string) {
			t.Helper()
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
				t.Fatal(err)
			}
		},
		"a pipe": func(t *testing.T, file string) {
			t.Helper()
			if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				folder, file := w.fill()
				token := w.issuer.Token(keystest.Claims{})
				w.network.serve(nil)
				spoil(t, file)
				w.restart(keys.KeySetOptions{Folder: folder})
				w.run()
				if !w.unavailable(token) || w.status().Keys != 0 {
					t.Errorf("its keys count: %+v", w.status())
				}
				if reads, writes := w.store.KeptFailures(); reads != 1 || writes != 0 {
					t.Errorf("%d reads and %d writes failed", reads, writes)
				}
				if !strings.Contains(w.log.String(), "a key set that was kept is not used") {
					t.Errorf("the log is %s", w.log)
				}
				w.network.serve(w.issuer)
				time.Sleep(31 * time.Second)
				synctest.Wait()
				if got := w.reason(token); got != policy.NoReason {
					t.Errorf("the issuer is back: %v", got)
				}
			})
		})
	}
}

func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A record is that of one source, reached in one way, whatever its file is called.
func TestKeptKeysAreOfOneSource(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		folder, file := w.fill()
		token := w.issuer.Token(keystest.Claims{})
		w.network.serve(nil)
		other := remoteConfig("corp", issuerName+"/other.json")
		private := remoteConfig("corp", keysURL)
		private.Client = anyAddress
		for _, cfg := range []int{0, 1} {
			store := newStore(t, keys.Options{Client: &http.Client{Transport: w.network}, Now: time.Now, KeySets: keys.KeySetOptions{Folder: folder}})
			provider := compile(t, store, []*configv1.Provider{other, private}[cfg])
			w.store, w.auth = store, keys.NewAuthenticator([]*keys.Provider{provider})
			if !w.unavailable(token) {
				t.Errorf("source %d has the other's keys", cfg)
			}
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	})
}

// What the disk does stops nothing. Tests run as root, whom no mode of a folder keeps out: here a file stands in its place.
func TestFolderThatCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		folder := filepath.Join(t.TempDir(), "state")
		rewrite(t, folder, "no folder")
		w.restart(keys.KeySetOptions{Folder: folder})
		w.run()
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
		if _, writes := w.store.KeptFailures(); writes != 1 {
			t.Errorf("%d writes failed", writes)
		}
		if status := w.status(); status.Err != nil || status.Keys != 3 {
			t.Errorf("%+v", status)
		}
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second) // the next fetch brings the same set, which is still to be written
		synctest.Wait()
		kept(t, folder)
	})
}

// A set that does not change is written again now and then, so that its record is not much older than it is.
func TestKeptTimeFollows(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		folder, file := w.fill()
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if now, err := os.ReadFile(file); err != nil || string(now) != string(before) {
			t.Errorf("it is written with every fetch, %v", err)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if now, err := os.ReadFile(file); err != nil || string(now) == string(before) {
			t.Errorf("it is not written again, %v", err)
		}
		kept(t, folder) // nothing is left beside it
	})
}

func TestRefreshBounds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.restart(keys.KeySetOptions{MinRefresh: 2 * time.Minute, MaxRefresh: 3 * time.Minute}) // the issuer says 60 s
		w.run()
		time.Sleep(2*time.Minute - time.Second)
		if got := w.fetches(); got != 1 {
			t.Errorf("%d fetches before min_refresh", got)
		}
		time.Sleep(2 * time.Second)
		if got := w.fetches(); got != 2 {
			t.Errorf("%d fetches after it", got)
		}
		w.network.serve(answer(200, string(w.issuer.JWKS()))) // says nothing: 5 minutes
		time.Sleep(2*time.Minute + 3*time.Minute)
		synctest.Wait()
		if got := w.fetches(); got != 4 {
			t.Errorf("%d fetches after max_refresh", got)
		}
	})
}

// No folder, no files.
func TestNothingIsKeptWithoutAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		time.Sleep(2 * time.Minute)
		if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
			t.Errorf("there is %v, %v", entries, err)
		}
	})
}
