package server_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// noticed fails the test when a change was found by the poll only, which comes far too late.
func noticed(t *testing.T, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s: in force after %s", what, took.Round(time.Millisecond))
	if took > server.PollEvery/2 {
		t.Errorf("%s was noticed after %s, by the poll", what, took)
	}
}

// rename renames a file or folder.
func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// relink turns a link to another target, as Kubernetes and deployment tools do: a new link is renamed over the old.
func relink(t *testing.T, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link+".new"); err != nil {
		t.Fatal(err)
	}
	rename(t, link+".new", link)
}

// TestChangeBeforeTheWatch: what changes between the first load and the beginning of the watch is not lost.
func TestChangeBeforeTheWatch(t *testing.T) {
	s, err := servertest.New(t, servertest.Options{Files: servertest.Orders(testIssuer(t))})
	if err != nil {
		t.Fatal(err)
	}
	servertest.Write(t, filepath.Join(s.Folder, "policy.csv"), servertest.OrdersPolicy+"g, bob, reader\n")
	s.Run()
	noticed(t, "a change before Run", s.AwaitGeneration(2))
}

// inFolder are the files of the small system, its policy in a folder of its own.
func inFolder(t *testing.T) map[string]string {
	files := servertest.Orders(testIssuer(t))
	files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "policy.csv", "policies/policy.csv")
	files["policies/policy.csv"] = files["policy.csv"]
	delete(files, "policy.csv")
	return files
}

// TestFolderThatIsReplaced: another folder takes the name, and then a file in it changes.
func TestFolderThatIsReplaced(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Files: inFolder(t)})
	folder := filepath.Join(s.Folder, "policies")
	for generation := uint64(2); generation < 8; generation += 2 {
		text := servertest.OrdersPolicy + "g, bob" + string(rune('a'+generation)) + ", reader\n"
		servertest.Write(t, folder+".new/policy.csv", text)
		rename(t, folder, folder+".old")
		rename(t, folder+".new", folder)
		noticed(t, "another folder", s.AwaitGeneration(generation))
		servertest.Write(t, folder+"/policy.csv", text+"g, carol, reader\n")
		noticed(t, "a change in it", s.AwaitGeneration(generation+1))
		if err := os.RemoveAll(folder + ".old"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFolderThatComesLater: a folder goes away with its file, and both come back.
func TestFolderThatComesLater(t *testing.T) {
	s := servertest.Start(t, servertest.Options{Files: inFolder(t)})
	folder := filepath.Join(s.Folder, "policies")
	for round := uint64(1); round < 4; round++ {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		noticed(t, "a folder that is gone", s.AwaitRefused(round))
		generation := s.Generation()
		servertest.Write(t, folder+"/policy.csv", servertest.OrdersPolicy+"g, bob, reader\n")
		if round == 1 {
			noticed(t, "a folder that came back", s.AwaitGeneration(generation+1))
			continue
		}
		noticed(t, "a folder that came back as it was", servertest.Await(t, "the metric", func() bool {
			return s.Metrics()["kasbah_config_last_reload_ok"] == 1
		}))
	}
	generation := s.Generation()
	servertest.Write(t, folder+"/policy.csv", servertest.OrdersPolicy+"g, dave, reader\n")
	noticed(t, "a change in it", s.AwaitGeneration(generation+1))
}

// TestLinkedFolder: the configuration lies behind a link on its way, which turns to another release.
func TestLinkedFolder(t *testing.T) {
	root := t.TempDir()
	files := servertest.Orders(testIssuer(t))
	for _, release := range []string{"v1", "v2", "v3"} {
		files["policy.csv"] += "g, " + release + ", reader\n"
		for name, text := range files {
			servertest.Write(t, filepath.Join(root, release, "conf", name), text)
		}
	}
	relink(t, "v1", filepath.Join(root, "current"))
	s := servertest.Start(t, servertest.Options{Folder: filepath.Join(root, "current", "conf")})
	for i, release := range []string{"v2", "v3"} {
		generation := uint64(2 * (i + 1))
		relink(t, release, filepath.Join(root, "current"))
		noticed(t, "another release", s.AwaitGeneration(generation))
		servertest.Replace(t, filepath.Join(root, release, "conf", "policy.csv"), files["policy.csv"]+"g, "+release+"b, reader\n")
		noticed(t, "a change in it", s.AwaitGeneration(generation+1))
	}
}
